package kafkaproxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"walpost/internal/kafkatest"
	"walpost/internal/testenv/long"
)

// Every version of each answer that has brokers' addresses has those of the
// proxies.
func TestEveryVersionLeadsBack(t *testing.T) {
	c, topic := launch(t)
	requests := map[string]func(version int16) kmsg.Request{
		"Metadata": func(version int16) kmsg.Request {
			q := kmsg.NewPtrMetadataRequest()
			name := kmsg.NewMetadataRequestTopic()
			name.Topic = &topic
			q.Version, q.Topics = version, []kmsg.MetadataRequestTopic{name}
			return q
		},
		"FindCoordinator": func(version int16) kmsg.Request {
			q := kmsg.NewPtrFindCoordinatorRequest()
			q.Version, q.CoordinatorKey, q.CoordinatorKeys = version, topic, []string{topic}
			return q
		},
		"DescribeCluster": func(version int16) kmsg.Request {
			q := kmsg.NewPtrDescribeClusterRequest()
			q.Version = version
			return q
		},
	}
	versions := offered(t, c)
	for name, request := range requests {
		known := versions[request(0).Key()]
		for version := known[0]; version <= known[1]; version++ {
			q := request(version)
			// The coordinator's topic may not be created yet.
			await(t, func() bool {
				conn := dial(t, c)
				defer conn.Close()
				conn.send(1, q)
				_, body := conn.receive()
				if q.IsFlexible() {
					body = body[1:] // no tags in the head
				}
				answer := q.ResponseKind()
				if err := answer.ReadFrom(body); err != nil {
					t.Fatalf("%s %d: %v", name, version, err)
				}
				found := places(answer)
				if len(found) == 0 {
					return false
				}
				for _, place := range found {
					if !slices.Contains(c.Addresses(), place) {
						t.Errorf("%s %d leads to %s", name, version, place)
					}
				}
				return true
			})
		}
	}
}

// places returns the addresses in an answer.
func places(answer kmsg.Response) (list []string) {
	add := func(host string, port int32) { list = append(list, fmt.Sprintf("%s:%d", host, port)) }
	switch answer := answer.(type) {
	case *kmsg.MetadataResponse:
		for _, b := range answer.Brokers {
			add(b.Host, b.Port)
		}
	case *kmsg.DescribeClusterResponse:
		for _, b := range answer.Brokers {
			add(b.Host, b.Port)
		}
	case *kmsg.FindCoordinatorResponse:
		if answer.Version < 4 && answer.ErrorCode == 0 {
			add(answer.Host, answer.Port)
		}
		for _, b := range answer.Coordinators {
			if b.ErrorCode == 0 {
				add(b.Host, b.Port)
			}
		}
	}
	return list
}

// offered returns the versions that the proxy offers, lowest and highest.
func offered(t *testing.T, c *Cluster) map[int16][2]int16 {
	t.Helper()
	conn := dial(t, c)
	q := kmsg.NewPtrApiVersionsRequest()
	conn.send(1, q)
	_, body := conn.receive()
	answer := kmsg.NewPtrApiVersionsResponse()
	if err := answer.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	versions := map[int16][2]int16{}
	for _, k := range answer.ApiKeys {
		versions[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
	}
	for key, highest := range map[int16]int16{fetchKey: newestFetch, metadataKey: new(kmsg.MetadataRequest).MaxVersion()} {
		if versions[key][1] > highest {
			t.Errorf("version %d of %s is offered", versions[key][1], kmsg.NameForKey(key))
		}
	}
	return versions
}

// Another client, franz-go, writes and reads as walpost and its checks do.
func TestSarama(t *testing.T) {
	c, topic := launch(t)
	cfg := sarama.NewConfig()
	cfg.Version, cfg.Net.MaxOpenRequests = sarama.V2_8_0_0, 1
	cfg.Producer.RequiredAcks, cfg.Producer.Idempotent = sarama.WaitForAll, true
	cfg.Producer.Return.Successes, cfg.Producer.Retry.Max, cfg.Producer.Retry.Backoff = true, 20, 0
	p, err := sarama.NewSyncProducer(c.Addresses(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i, arm := range []func() (*Fault, error){
		func() (*Fault, error) { return c.Answer(kerr.NotLeaderForPartition.Code, 1) },
		func() (*Fault, error) { return c.Mask(kerr.NotEnoughReplicasAfterAppend.Code, 1) },
		func() (*Fault, error) { return c.Swallow(1) },
	} {
		f, err := arm()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
		met(t, f)
	}
	if got := strings.Join(values(t, topic, 3), " "); got != "0 1 2" || records(t, topic) != 3 {
		t.Errorf("the log has %q, %d records", got, records(t, topic))
	}
}

// With three brokers, each leader is reached through its own proxy, and a fault
// can be limited to the requests of one broker.
func TestThreeBrokers(t *testing.T) {
	long.Only(t)
	cluster := kafkatest.Start(t, kafkatest.Options{Nodes: 3})
	kafkatest.Topic(t, cluster.Brokers(), "spread", 3, nil)
	c := before(t, cluster.Brokers()[:1]) // it knows the others
	if n := len(c.Addresses()); n != 3 {
		t.Fatalf("%d proxies", n)
	}
	direct := client(t, cluster.Brokers())
	leaders := leaders(t, direct, "spread")
	k := stubborn(t, c.Addresses()[:1])
	faults := map[int32]*Fault{}
	for partition, leader := range leaders {
		f, err := c.Mask(kerr.RequestTimedOut.Code, int(partition)+1, leader)
		if err != nil {
			t.Fatal(err)
		}
		faults[partition] = f
	}
	for partition := range leaders {
		if err := k.ProduceSync(limited(t), &kgo.Record{Topic: "spread", Partition: partition}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for partition, f := range faults {
		met(t, f)
		if n := end(t, direct, "spread", partition); n != int64(partition)+2 {
			t.Errorf("partition %d has %d records, want %d", partition, n, partition+2)
		}
	}
}

// leaders returns the leaders of a topic, by partition.
func leaders(t *testing.T, k *kgo.Client, topic string) map[int32]int32 {
	t.Helper()
	q := kmsg.NewPtrMetadataRequest()
	name := kmsg.NewMetadataRequestTopic()
	name.Topic = &topic
	q.Topics = []kmsg.MetadataRequestTopic{name}
	answer, err := q.RequestWith(limited(t), k)
	if err != nil {
		t.Fatal(err)
	}
	found := map[int32]int32{}
	for _, p := range answer.Topics[0].Partitions {
		found[p.Partition] = p.Leader
	}
	if len(found) != 3 {
		t.Fatalf("leaders of %s: %v", topic, found)
	}
	return found
}
