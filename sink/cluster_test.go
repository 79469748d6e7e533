package sink

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/kafkatest"
	"walpost/internal/testenv/long"
	"walpost/sink/wire"
)

// stream publishes events of many keys, some thousand a second, until it is stopped.
type stream struct {
	p     *Producer
	acks  *ledger
	topic string
	stop  chan struct{}
	ended chan int // how many there were
}

func startStream(t testing.TB, p *Producer, acks *ledger, topic string) *stream {
	s := &stream{p, acks, topic, make(chan struct{}), make(chan int, 1)}
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; {
			select {
			case <-s.stop:
				s.ended <- i
				return
			case <-tick.C:
			}
			for range 5 {
				if _, err := p.Publish(event(topic, fmt.Sprintf("k-%d", i%100), i), uint64(i%100)); err != nil {
					t.Errorf("event %d: %v", i, err)
				}
				i++
			}
			p.Flush(false)
		}
	}()
	return s
}

// flows waits until this many more events of each key are acked, and so of each partition.
func (s *stream) flows(t testing.TB, events int) {
	t.Helper()
	begin := time.Now()
	acked := func() (list [100]int) {
		s.acks.mu.Lock()
		defer s.acks.mu.Unlock()
		for tx, n := range s.acks.acked {
			list[tx] = n
		}
		return list
	}
	before := acked()
	until(t, fmt.Sprintf("%d more events of each key", events), func() bool {
		for key, n := range acked() {
			if n < before[key]+events {
				return false
			}
		}
		return true
	})
	t.Logf("%d more events of each key after %v", events, time.Since(begin).Round(time.Millisecond))
}

// awaitLeaders waits until one broker knows a leader other than the dead one for each partition.
func awaitLeaders(t testing.TB, broker, topic string, partitions int, dead int32) {
	t.Helper()
	awaitPartitions(t, broker, topic, partitions, func(p *sarama.PartitionMetadata) bool { return p.Err == sarama.ErrNoError && p.Leader != dead })
}

// awaitInSync waits until one broker knows this many in-sync replicas for each partition.
func awaitInSync(t testing.TB, broker, topic string, partitions, replicas int) {
	t.Helper()
	awaitPartitions(t, broker, topic, partitions, func(p *sarama.PartitionMetadata) bool { return len(p.Isr) == replicas })
}

func awaitPartitions(t testing.TB, broker, topic string, partitions int, are func(*sarama.PartitionMetadata) bool) {
	t.Helper()
	b := sarama.NewBroker(broker)
	until(t, "partitions as they should be", func() bool {
		_ = b.Open(sarama.NewConfig()) // it may be open, or not be there yet
		res, err := b.GetMetadata(sarama.NewMetadataRequest(sarama.V2_8_0_0, []string{topic}))
		if err != nil {
			_ = b.Close()
			return false
		}
		good := 0
		for _, p := range res.Topics[0].Partitions {
			if are(p) {
				good++
			}
		}
		return good == partitions
	})
	_ = b.Close()
}

// back waits until events of every key are acked again, now that the partitions can be written. It returns how long that took.
func (s *stream) back(t testing.TB) {
	t.Helper()
	begin := time.Now()
	s.flows(t, 1)
	took := time.Since(begin)
	t.Logf("delivering again %v after the partitions could be written", took.Round(time.Millisecond))
	if took > 5*time.Second { // two, on a machine that does nothing else
		t.Errorf("delivering again only %v after the partitions could be written", took)
	}
}

// moveLeaders makes the next replica of each partition its leader.
func moveLeaders(t testing.TB, brokers []string, topic string) {
	t.Helper()
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V2_8_0_0
	admin, err := sarama.NewClusterAdmin(brokers, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	described, err := admin.DescribeTopics([]string{topic})
	if err != nil {
		t.Fatal(err)
	}
	partitions := described[0].Partitions
	order := make([][]int32, len(partitions))
	elect := map[string][]int32{topic: nil}
	for _, p := range partitions {
		order[p.ID] = append(append([]int32{}, p.Replicas[1:]...), p.Replicas[0])
		elect[topic] = append(elect[topic], p.ID)
	}
	if err := admin.AlterPartitionReassignments(topic, order); err != nil {
		t.Fatal(err)
	}
	until(t, "new leaders", func() bool {
		if _, err := admin.ElectLeaders(sarama.PreferredElection, elect); err != nil {
			return false
		}
		described, err := admin.DescribeTopics([]string{topic})
		if err != nil {
			return false
		}
		for _, p := range described[0].Partitions {
			if p.Leader != order[p.ID][0] {
				return false
			}
		}
		return true
	})
}

// leader returns the node that leads a topic's first partition.
func leader(t testing.TB, brokers []string, topic string) int {
	t.Helper()
	client, err := sarama.NewClient(brokers, sarama.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	b, err := client.Leader(topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	return int(b.ID())
}

// Three brokers: leaders move, stop, crash and hang while events flow. Nothing is lost, nothing comes twice, and the events of every key
// stay in order. The producer disconnects from a hung broker long before the time-out. In the short test run, kfaketest moves leaders and
// has a broker that hangs (TestHungBrokerIsLeft), and TestAllBrokersGone has one that dies.
func TestBrokersComeAndGo(t *testing.T) {
	long.Only(t)
	t.Parallel()
	c := kafkatest.Start(t, kafkatest.Options{Nodes: 3})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	const topic, partitions = "orders", 6
	kafkatest.Topic(t, c.Brokers(), topic, partitions, nil)
	p, acks, log := openLogged(t, c.Brokers())
	s := startStream(t, p, acks, topic)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.flows(t, 5)
	for range 2 {
		moveLeaders(t, c.Brokers(), topic)
		s.flows(t, 5)
	}
	for id := 1; id <= 2; id++ {
		must(c.Stop(ctx, id))
		s.flows(t, 5)
		must(c.StartNode(ctx, id))
	}
	// Too few replicas are in sync: the events wait, and the topic is reported with the broker's error.
	setTopic(t, c.Brokers(), topic, "min.insync.replicas", "3")
	must(c.Stop(ctx, 3))
	until(t, "a topic that waits", func() bool {
		w := p.metrics.waits()
		return len(w) == 1 && w[0].Topic == topic && time.Since(w[0].Since) > 2*time.Second && w[0].Err != nil && strings.Contains(w[0].Err.Error(), "fewer in-sync replicas")
	})
	must(c.StartNode(ctx, 3))
	awaitInSync(t, c.Brokers()[0], topic, partitions, 3)
	s.back(t)
	until(t, "word that events flow again", log.says("events flow again", "topic="+topic))
	setTopic(t, c.Brokers(), topic, "min.insync.replicas", "2")
	dead := leader(t, c.Brokers(), topic)
	must(c.Kill(dead))
	awaitLeaders(t, c.Brokers()[dead%3], topic, partitions, int32(dead))
	s.back(t)
	must(c.StartNode(ctx, dead))
	moveLeaders(t, c.Brokers(), topic)
	s.flows(t, 5)
	hung := leader(t, c.Brokers(), topic)
	begin := time.Now()
	must(c.Freeze(hung))
	s.flows(t, 20)
	if took := time.Since(begin); took > wire.ReadTimeout-2*time.Second {
		t.Errorf("a hung broker held events for %v", took)
	}
	must(c.Thaw(hung))
	s.flows(t, 5)
	close(s.stop)
	events := <-s.ended
	acks.wait(t, events, 0)
	if !log.says("disconnecting from a broker that does not answer")() {
		t.Log("the hung broker ended its connections by itself")
	}
	checkStream(t, c.Brokers(), topic, events)
	if n := log.count("taking a new producer id"); n > 0 {
		t.Errorf("%d new producer ids, although no broker has forgotten anything:\n%s", n, strings.Join(log.all(), ""))
	}
}

// checkStream checks that each event of a stream is in the topic once, with each key in order.
func checkStream(t testing.TB, brokers []string, topic string, events int) {
	t.Helper()
	next := map[string]int{}
	for n, records := range consume(t, brokers, topic, events) {
		for _, m := range records {
			var key, id int
			if _, err := fmt.Sscanf(string(m.Key)+" "+string(m.Headers[0].Value), "k-%d %d", &key, &id); err != nil {
				t.Fatal(err)
			}
			if want := key + 100*next[string(m.Key)]; id != want {
				t.Fatalf("partition %d, offset %d: key %s: event %d, want %d", n, m.Offset, m.Key, id, want)
			}
			next[string(m.Key)]++
		}
	}
}
