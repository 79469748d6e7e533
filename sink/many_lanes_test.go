package sink

import (
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/internal/sinktest"
	"walpost/sink/lane"
)

// Many lanes lose their producer id at once, as when a topic was deleted. They share few new ids, and few log lines.
func TestRenewalsShareAnIdentity(t *testing.T) {
	const lanes = 200
	b := newScripted(t, "orders", lanes)
	answer := produceAnswer(t)
	for n := range int32(lanes) {
		answer.SetError("orders", n, sarama.ErrOutOfOrderSequenceNumber)
	}
	b.answer("ProduceRequest", answer)
	p, acks, log := openLogged(t, []string{b.Addr()})
	before := asked[*sarama.InitProducerIDRequest](b)
	for i := range 10 * lanes {
		publish(t, p, event("orders", fmt.Sprint(i), i), uint64(i))
	}
	p.Flush(false)
	used := 0 // lanes with events
	for _, part := range *waitPartitions(t, p, "orders") {
		if !part.lane.Silent() {
			used++
		}
	}
	until(t, "every lane to be refused", func() bool { return len(b.sent()) >= used })
	b.answer("ProduceRequest", produceAnswer(t))
	acks.wait(t, 10*lanes, 0)
	if n := asked[*sarama.InitProducerIDRequest](b) - before; n > 20 {
		t.Errorf("%d producer ids were taken for %d lanes", n, used)
	}
	// Lanes that need an id while one is requested wait, and share the next one.
	before = asked[*sarama.InitProducerIDRequest](b)
	b.SetLatency(50 * time.Millisecond)
	for _, part := range (*p.topics["orders"].partitions.Load())[:30] {
		p.ids.renew([]*partition{part})
		time.Sleep(time.Millisecond) // one after the other, which is what is tested
	}
	requests, since := 0, time.Now()
	until(t, "the last id", func() bool {
		if n := asked[*sarama.InitProducerIDRequest](b); n != requests {
			requests, since = n, time.Now()
		}
		p.ids.mu.Lock()
		defer p.ids.mu.Unlock()
		return !p.ids.asking && time.Since(since) > 500*time.Millisecond
	})
	if n := asked[*sarama.InitProducerIDRequest](b) - before; n > 10 {
		t.Errorf("%d producer ids were taken for 30 lanes that came one by one", n)
	}
	if n := log.count("taking a new producer id"); n != 1 {
		t.Errorf("%d log lines about it", n)
	}
}

// waitPartitions returns a topic's partitions once they are known.
func waitPartitions(t *testing.T, p *Producer, name string) *[]*partition {
	t.Helper()
	p.placed(t, name)
	return p.topics[name].partitions.Load()
}

// An outage of every partition of many topics causes one log line for each topic, and few requests.
func TestOutageOfManyLanes(t *testing.T) {
	const topics, partitions = 20, 50
	b := newScripted(t, "none", 1)
	meta := sarama.NewMockMetadataResponse(t).SetBroker(b.Addr(), 1)
	down := produceAnswer(t)
	var names []string
	for i := range topics {
		names = append(names, fmt.Sprint("t", i))
		for n := range int32(partitions) {
			meta.SetLeader(names[i], n, 1)
			down.SetError(names[i], n, sarama.ErrNotLeaderForPartition)
		}
	}
	b.answer("MetadataRequest", meta)
	p, acks, log := openLogged(t, []string{b.Addr()})
	total := 0
	began := time.Now()
	for _, name := range names {
		for i := range 2 * partitions {
			publish(t, p, event(name, fmt.Sprint(i), i), uint64(i))
			total++
		}
	}
	p.Flush(false)
	acks.wait(t, total, 0)
	took := time.Since(began)
	refreshes, settings := asked[*sarama.MetadataRequest](b), asked[*sarama.DescribeConfigsRequest](b)
	if most := 2 + int(took/minBetweenRefreshes); settings > most || settings >= topics {
		t.Errorf("%d requests for the settings of %d topics in %v", settings, topics, took)
	}

	b.answer("ProduceRequest", down)
	began = time.Now()
	for _, name := range names {
		for i := range 2 * partitions {
			publish(t, p, event(name, fmt.Sprint(i), i), uint64(i))
			total++
		}
	}
	p.Flush(false)
	until(t, "warnings of the outage", func() bool { return log.count("waiting for partition") >= topics })
	b.answer("ProduceRequest", produceAnswer(t))
	acks.wait(t, total, 0)
	took = time.Since(began)
	if n := log.count("waiting for partition"); n != topics {
		t.Errorf("%d lines for %d topics", n, topics)
	}
	if n, most := asked[*sarama.MetadataRequest](b)-refreshes, 2+int(took/minBetweenRefreshes); n > most {
		t.Errorf("%d questions in %v, want %d at most", n, took, most)
	}
}

// minBetweenRefreshes is what package metadata promises.
const minBetweenRefreshes = 100 * time.Millisecond

// A batch that is refused because of too few replicas, or by a quota, is sent again without a search for the leader: the broker that would
// be asked may be frozen.
func TestResendDoesNotWaitForMetadata(t *testing.T) {
	acks := newLedger()
	b, p := openFlowing(t, 1, acks)
	refreshes := asked[*sarama.MetadataRequest](b)
	b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, sarama.ErrNotEnoughReplicas))
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	until(t, "five resends", func() bool { return len(b.sent()) > 6 })
	if n := asked[*sarama.MetadataRequest](b) - refreshes; n != 0 {
		t.Errorf("%d metadata requests", n)
	}
	b.answer("ProduceRequest", produceAnswer(t))
	acks.wait(t, 2, 0)
}

// If the search for a partition's leader gets no answer, the known leader is tried again within two seconds.
func TestResendDoesNotWaitForMetadataForEver(t *testing.T) {
	acks := newLedger()
	b, p := openFlowing(t, 1, acks)
	delete(b.answers, "MetadataRequest") // it answers no more, as a frozen one
	b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, sarama.ErrNotLeaderForPartition))
	publish(t, p, event("orders", "k", 1), 1)
	began := time.Now()
	p.Flush(false)
	until(t, "two resends", func() bool { return len(b.sent()) >= 4 })
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("two resends took %v", took)
	}
	b.answer("ProduceRequest", produceAnswer(t))
	acks.wait(t, 2, 0)
}

// Topics that are opened after one was forgotten share a new producer id. Topics that were open before need none.
func TestNewLanesShareAnIdentity(t *testing.T) {
	b := newScripted(t, "orders", 1)
	p := open(t, config(t, []string{b.Addr()}), newLedger())
	before := asked[*sarama.InitProducerIDRequest](b)
	b.SetLatency(50 * time.Millisecond)
	p.ids.spend()
	got := make(chan lane.Identity)
	for range 30 {
		go func() {
			id, _ := p.ids.forNewLanes(func(error) {})
			got <- id
		}()
	}
	for range 30 {
		<-got
	}
	if n := asked[*sarama.InitProducerIDRequest](b) - before; n != 1 {
		t.Errorf("%d producer ids were taken", n)
	}
}

// The producer disconnects from a broker that does not answer when the same broker, by its id, now has another address.
func TestBrokerMoves(t *testing.T) {
	b, silent := newScripted(t, "orders", 1), sinktest.SilentListener(t)
	answer := b.answers["MetadataRequest"]
	old := &sarama.MetadataResponse{Version: 9}
	old.AddBroker(silent, 1)
	old.AddTopicPartition("orders", 0, 1, nil, nil, nil, sarama.ErrNoError)
	b.answer("MetadataRequest", sarama.NewMockWrapper(old))
	acks := newLedger()
	cfg := config(t, []string{b.Addr()})
	p := open(t, cfg, acks)
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	until(t, "the sender of the silent broker", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.senders) == 1 })
	b.answer("MetadataRequest", answer)
	began := time.Now()
	acks.wait(t, 1, 0)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the producer disconnected from the old address after %v", took)
	}
}
