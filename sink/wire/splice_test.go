package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/auth"
	"walpost/sink/recordbatch"
)

// partsOf makes a request's parts, with one sealed batch for each name of the form topic/partition.
func partsOf(t testing.TB, places ...string) []Part { return partsOfProducer(t, 1, places...) }

func partsOfProducer(t testing.TB, producer int64, places ...string) []Part {
	e, err := recordbatch.NewEncoder(recordbatch.None)
	if err != nil {
		t.Fatal(err)
	}
	var parts []Part
	for i, place := range places {
		var name string
		var partition int32
		if _, err := fmt.Sscanf(place, "%1s/%d", &name, &partition); err != nil {
			t.Fatal(err)
		}
		b := &recordbatch.Batch{}
		for range i + 1 {
			r := &recordbatch.Record{Value: []byte(place)}
			b.Append(r, r.Size())
		}
		if err := b.Seal(e, recordbatch.Stamp{ProducerID: producer, Sequence: int32(i)}); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, Part{name, partition, b.Wire()})
	}
	return parts
}

// produced is a produce request as it arrived.
type produced struct {
	correlation uint32
	client      string
	acks        int16
	timeout     int32
	topics      []string
	batches     map[string][]byte // by topic/partition
}

// readProduce reads and parses one request of the usual version. All its lengths must fit.
func readProduce(t testing.TB, r io.Reader) (p produced) { return readProduceOf(t, r, usualProduce) }

func readProduceOf(t testing.TB, r io.Reader, version int16) (p produced) {
	t.Helper()
	length := make([]byte, 4)
	if _, err := io.ReadFull(r, length); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(length))
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	take := func(n int) []byte {
		if n > len(b) {
			t.Fatalf("the request ends %d bytes too early", n-len(b))
		}
		v := b[:n]
		b = b[n:]
		return v
	}
	u16 := func() uint16 { return binary.BigEndian.Uint16(take(2)) }
	u32 := func() uint32 { return binary.BigEndian.Uint32(take(4)) }
	// In flexible versions a length or count n is a varint of n+1, and the number of tags follows each structure.
	flexible := version >= 9
	varint := func() int {
		v, n := binary.Uvarint(b)
		take(n)
		return int(v) - 1
	}
	size := func(plain func() int) int {
		if flexible {
			return varint()
		}
		return plain()
	}
	short, long := func() int { return int(int16(u16())) }, func() int { return int(int32(u32())) }
	tags := func() {
		if flexible && varint() != -1 {
			t.Fatal("there are tags")
		}
	}
	if key, got := u16(), u16(); key != 0 || int16(got) != version {
		t.Fatalf("request %d of version %d", key, got)
	}
	p.correlation, p.client = u32(), string(take(int(u16())))
	tags()
	if transaction := size(short); transaction != -1 {
		t.Fatalf("transactional id of length %d", transaction)
	}
	p.acks, p.timeout, p.batches = int16(u16()), int32(u32()), map[string][]byte{}
	for range size(long) {
		name := string(take(size(short)))
		p.topics = append(p.topics, name)
		for range size(long) {
			place := fmt.Sprintf("%s/%d", name, u32())
			if p.batches[place] != nil {
				t.Fatalf("partition %s twice", place)
			}
			p.batches[place] = take(size(long))
			tags()
		}
		tags()
	}
	tags()
	if len(b) > 0 {
		t.Fatalf("%d bytes after the request", len(b))
	}
	return p
}

// answer is a produce response, version 8, with a base offset for each partition of one topic.
func answer(correlation uint32, topic string, offsets ...uint64) []byte {
	be := binary.BigEndian
	b := be.AppendUint32(make([]byte, 4), correlation)
	b = be.AppendUint32(b, 1)
	b = be.AppendUint16(b, uint16(len(topic)))
	b = be.AppendUint32(append(b, topic...), uint32(len(offsets)))
	for i, offset := range offsets {
		b = be.AppendUint32(b, uint32(i))
		b = be.AppendUint16(b, 0)       // no error
		b = be.AppendUint64(b, offset)  // base offset
		b = be.AppendUint64(b, 1<<64-1) // no log append time
		b = be.AppendUint64(b, 0)       // log start offset
		b = be.AppendUint32(b, 0)       // no record errors
		b = be.AppendUint16(b, 0xffff)  // no message
	}
	b = be.AppendUint32(b, 0) // throttle
	be.PutUint32(b, uint32(len(b)-4))
	return b
}

// spliced is a sarama broker over a splicer's connection, and the other end of that.
func spliced(t testing.TB, s *Splicer) (*sarama.Broker, net.Conn) {
	cfg := sarama.NewConfig()
	cfg.ClientID = "walpost-test"
	return splicedBy(t, s, cfg)
}

func splicedBy(t testing.TB, s *Splicer, cfg *sarama.Config) (*sarama.Broker, net.Conn) {
	near, far := net.Pipe()
	cfg.ApiVersionsRequest = false
	cfg.Net.Proxy.Enable, cfg.Net.Proxy.Dialer = true, pipeDialer{newSpliceConn(near, s, "pipe:0")}
	b := sarama.NewBroker("pipe:0")
	if err := b.Open(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(); far.Close() })
	return b, far
}

type pipeDialer struct{ net.Conn }

func (d pipeDialer) Dial(_, _ string) (net.Conn, error) { return d.Conn, nil }

// A request that sarama sends is written with our batches, and the answer reaches the caller.
func TestSplicedRequest(t *testing.T) {
	s := NewSplicer(nil)
	b, far := spliced(t, s)
	for round, places := range [][]string{{"a/0"}, {"a/0", "a/1", "b/0", "c/7", "c/2147483647"}, {"a/1"}} {
		parts := partsOf(t, places...)
		type landing struct {
			res *sarama.ProduceResponse
			err error
		}
		landed := make(chan landing, 1)
		sent := make(chan error, 1)
		go func() {
			sent <- b.AsyncProduce(s.placeholder(parts, s.add(parts), usualProduce), func(res *sarama.ProduceResponse, err error) { landed <- landing{res, err} })
		}()
		p := readProduce(t, far)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if p.client != "walpost-test" || p.timeout != int32(s.leaderTimeout()/time.Millisecond) || p.correlation != uint32(round) {
			t.Errorf("head %+v", p)
		}
		if len(p.batches) != len(parts) || !slices.IsSorted(p.topics) || len(slices.Compact(slices.Clone(p.topics))) != len(p.topics) {
			t.Errorf("topics %v, %d batches of %d", p.topics, len(p.batches), len(parts))
		}
		for i, part := range parts {
			if !bytes.Equal(p.batches[places[i]], part.Batch) {
				t.Errorf("%s: %d bytes arrived, not the batch's %d", places[i], len(p.batches[places[i]]), len(part.Batch))
			}
		}
		if _, err := far.Write(answer(p.correlation, "a", 100, 101)); err != nil {
			t.Fatal(err)
		}
		l := <-landed
		if l.err != nil || l.res.GetBlock("a", 1) == nil || l.res.GetBlock("a", 1).Offset != 101 {
			t.Fatalf("answer %+v, %v", l.res, l.err)
		}
		if len(s.requests) > 0 {
			t.Errorf("%d requests are remembered after they were sent", len(s.requests))
		}
	}
}

// The request asks for acks of all in-sync replicas, and brokers do what the request asks for.
func TestEveryProduceWaitsForAllReplicas(t *testing.T) {
	s := NewSplicer(nil)
	b, far := spliced(t, s)
	parts := partsOf(t, "a/0", "b/1")
	go (&Link{Greeting{version: usualProduce}, b, s}).Produce(parts, func([]Answer, error) {})
	if p := readProduce(t, far); p.acks != -1 {
		t.Errorf("acks=%d, want -1, which is all", p.acks)
	}
}

// If a write ends in the middle of a request, nothing may follow on that connection: the broker would read the next request as the rest of
// this one. This holds for every request and every error.
func TestNothingFollowsAHalfWrittenRequest(t *testing.T) {
	for _, what := range []string{"produce", "other"} {
		t.Run(what, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			s := NewSplicer(nil)
			c := newSpliceConn(near, s, "pipe:0")
			parts := partsOf(t, "a/0", "a/1")
			b := placeholderBytes(t, parts, s.add(parts))
			if what == "other" {
				be := binary.BigEndian
				b = append(be.AppendUint32(nil, 100), make([]byte, 100)...)
				be.PutUint16(b[4:], apiVersionsKey)
			}
			if err := c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if err := far.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			begun := make(chan error, 1)
			go func() {
				_, err := io.ReadFull(far, make([]byte, 20)) // and not the rest
				begun <- err
			}()
			if _, err := c.Write(b); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("a request that nobody reads: %v", err)
			}
			if err := <-begun; err != nil {
				t.Fatal(err)
			}
			_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second)) // as sarama does before each request
			go func() { _, _ = c.Write([]byte("next")) }()
			if n, err := far.Read(make([]byte, 1)); n > 0 || err != io.EOF {
				t.Errorf("after half of a request %d bytes came, %v", n, err)
			}
		})
	}
}

// If a request could not be sent, the error reports whether a part of it can have arrived.
func TestNothingWritten(t *testing.T) {
	var sent interface{ NotSent() bool }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s := NewSplicer(over(t, auth.Security{}))
	cfg, err := s.SaramaConfig("walpost-test")
	if err != nil {
		t.Fatal(err)
	}
	refused := sarama.NewBroker(l.Addr().String())
	if err := refused.Open(cfg); err != nil {
		t.Fatal(err)
	}
	unexpected := func([]Answer, error) { t.Error("an answer to what was not sent") }
	if err := (&Link{Greeting{version: usualProduce}, refused, s}).Produce(partsOf(t, "a/0"), unexpected); !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &sent) || !sent.NotSent() {
		t.Errorf("nobody listens: %v", err)
	}
	gone, far := spliced(t, s)
	go func() {
		_, _ = io.ReadFull(far, make([]byte, 10))
		far.Close()
	}()
	if err := (&Link{Greeting{version: usualProduce}, gone, s}).Produce(partsOf(t, "a/0"), unexpected); err == nil || !errors.As(err, &sent) || sent.NotSent() {
		t.Errorf("a write that failed: %v", err)
	}
	if len(s.requests) > 0 {
		t.Errorf("%d requests are remembered", len(s.requests))
	}
}
