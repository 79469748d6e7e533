package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/kafkatest"
	"walpost/sink/auth"
)

// The version for each range of a broker, and the error if there is none.
func TestProduceVersion(t *testing.T) {
	for _, test := range []struct {
		oldest, newest, want int16
		mismatch, ofZstd     string
	}{
		{0, 13, 8, "", ""},
		{3, 13, 8, "", ""}, // Kafka 4
		{0, 8, 8, "", ""},
		{0, 7, 7, "", ""}, // Redpanda, Event Hubs
		{0, 6, 6, "", "b:9092 offers produce requests of versions 0 to 6, and zstd needs 7; set kafka.compression.type to another codec"},
		{0, 3, 3, "", "and zstd needs 7"},
		{8, 8, 8, "", ""},
		{9, 9, 9, "", ""},
		{9, 20, 9, "", ""},
		{10, 20, 0, "b:9092 offers produce requests of versions 10 to 20, and walpost sends 3 to 9; use a newer walpost", "use a newer walpost"},
		{0, 2, 0, "b:9092 offers produce requests of versions 0 to 2, and walpost sends 3 to 9; use brokers of Kafka 2.8 or newer", "Kafka 2.8"},
		{0, 0, 0, "versions 0 to 0", "versions 0 to 0"},
	} {
		r := produceRange{test.oldest, test.newest}
		if got := r.version(); got != test.want {
			t.Errorf("%v: version %d, want %d", r, got, test.want)
		}
		for zstd, want := range map[bool]string{false: test.mismatch, true: test.ofZstd} {
			got := ""
			if m := (*Mismatch)(nil); errors.As(r.mismatch("b:9092", zstd), &m) {
				got = m.Error() + "; " + m.Cure
			}
			if (got == "") != (want == "") || !strings.Contains(got, want) {
				t.Errorf("%v, zstd %t: %q, want %q", r, zstd, got, want)
			}
		}
	}
}

// A request of each version has the right content.
func TestRequestsOfEveryVersion(t *testing.T) {
	for version := int16(oldestProduce); version <= flexibleProduce; version++ {
		for _, places := range [][]string{{"a/0"}, {"a/0", "a/1", "b/0", "c/7", "c/2147483647"}} {
			near, far := net.Pipe()
			s := NewSplicer(nil)
			c := newSpliceConn(near, s, "pipe:0")
			parts := partsOf(t, places...)
			parts[len(parts)-1].Batch = append(parts[len(parts)-1].Batch, make([]byte, 300)...) // a length of two bytes, as a varint
			b := placeholderOf(t, parts, s.add(parts), version)
			sent := make(chan error, 1)
			go func() {
				_, err := c.Write(b)
				near.Close()
				sent <- err
			}()
			p := readProduceOf(t, far, version)
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			if p.client != "walpost-test" || p.acks != -1 || len(p.batches) != len(parts) || !slices.IsSorted(p.topics) || len(slices.Compact(slices.Clone(p.topics))) != len(p.topics) {
				t.Errorf("version %d: client %q, acks %d, topics %v, %d batches of %d", version, p.client, p.acks, p.topics, len(p.batches), len(parts))
			}
			for i, part := range parts {
				if !bytes.Equal(p.batches[places[i]], part.Batch) {
					t.Errorf("version %d, %s: %d bytes arrived, not the batch's %d", version, places[i], len(p.batches[places[i]]), len(part.Batch))
				}
			}
			if n, err := far.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("version %d: something follows the request", version)
			}
		}
	}
}

// A real broker accepts requests of each version, and its answers reach the caller.
func TestBrokerTakesEveryVersion(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	names := []string{kafkatest.Name(t), kafkatest.Name(t)}
	slices.Sort(names)
	for _, name := range names {
		kafkatest.Topic(t, brokers, name, 3, nil)
	}
	s := NewSplicer(over(t, auth.Security{}))
	defer s.Close()
	cfg, err := s.SaramaConfig("walpost-test")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Connect(brokers[0], cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := CheckProduce(b, true); err != nil {
		t.Fatal(err)
	}
	if g, err := Greet(b, true); err != nil || g.version != usualProduce || g.Cluster == "" {
		t.Fatalf("greeting %+v, %v", g, err)
	}
	places := []string{"a/0", "a/2", "b/0", "b/1", "c/0"}
	for version := int16(oldestProduce); version <= flexibleProduce; version++ {
		parts := partsOfProducer(t, 1_000_000+int64(version), places...) // each version is a producer of its own
		for i := range parts {
			parts[i].Topic = map[string]string{"a": names[0], "b": names[1], "c": "nowhere-" + names[0]}[parts[i].Topic]
		}
		var answers []Answer
		send := func() {
			answered := make(chan error, 1)
			err := (&Link{Greeting{version: version}, b, s}).Produce(parts, func(a []Answer, err error) {
				answers = a
				answered <- err
			})
			if err == nil {
				err = <-answered
			}
			if err != nil {
				t.Fatalf("version %d: %v", version, err)
			}
		}
		deadline := time.Now().Add(30 * time.Second)
		for send(); slices.ContainsFunc(answers, func(a Answer) bool { return a.Err == sarama.ErrNotLeaderForPartition }) && time.Now().Before(deadline); send() {
			time.Sleep(10 * time.Millisecond) // the pause of a poll: the topics are new
		}
		for i, a := range answers {
			want := error(nil)
			if places[i] == "c/0" {
				want = sarama.ErrUnknownTopicOrPartition
			}
			if a.Err != want {
				t.Errorf("version %d, %s: %v", version, places[i], a.Err)
			}
		}
	}
}
