package sink

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/schema"
	"walpost/sink/record"
)

// keyOf returns a key whose partition is before with one number of partitions, and after with another one.
func keyOf(t testing.TB, before, of, then, ofThen int32) string {
	for i := range 10_000 {
		key := []byte(fmt.Sprint("k-", i))
		if record.Murmur2.Partition(key, of) == before && record.Murmur2.Partition(key, ofThen) == then {
			return string(key)
		}
	}
	t.Fatal("no such key")
	return ""
}

// sent returns the partitions that the broker was sent batches for, in order. sarama does not export a request's content.
func (b *scripted) sent() (partitions []int32) {
	for _, r := range b.History() {
		req, ok := r.Request.(*sarama.ProduceRequest)
		if !ok {
			continue
		}
		for topics := reflect.ValueOf(req).Elem().FieldByName("records").MapRange(); topics.Next(); {
			for _, n := range topics.Value().MapKeys() {
				partitions = append(partitions, int32(n.Int()))
			}
		}
	}
	return partitions
}

// nextSequence returns the sequence after the last batch that the broker was sent for a partition of topic orders.
func (b *scripted) nextSequence(partition int32) (next int64) {
	for _, r := range b.History() {
		req, ok := r.Request.(*sarama.ProduceRequest)
		if !ok {
			continue
		}
		records := reflect.ValueOf(req).Elem().FieldByName("records").MapIndex(reflect.ValueOf("orders")).MapIndex(reflect.ValueOf(partition))
		if records.IsValid() {
			batch := records.FieldByName("RecordBatch").Elem()
			next = batch.FieldByName("FirstSequence").Int() + batch.FieldByName("LastOffsetDelta").Int() + 1
		}
	}
	return next
}

// partitions sets the number of partitions of topic orders.
func (b *scripted) partitions(n int32) {
	meta := sarama.NewMockMetadataResponse(b.t).SetBroker(b.Addr(), 1).SetController(1)
	for i := range n {
		meta.SetLeader("orders", i, 1)
	}
	b.answer("MetadataRequest", meta)
}

// Partitions are added while one of the old ones makes no progress. No event is placed by the new number before all events that were placed
// by the old one are acked. Otherwise a consumer could read a key's later event before its earlier one.
func TestNothingOvertakesWhilePartitionsAreAdded(t *testing.T) {
	t.Parallel()
	b := newScripted(t, "orders", 1)
	acks := newLedger()
	p := open(t, config(t, []string{b.Addr()}), acks)
	p.refreshEvery = 20 * time.Millisecond
	key := keyOf(t, 0, 1, 1, 2)
	publish(t, p, event("orders", key, 1), 1)
	p.Flush(false)
	acks.wait(t, 1, 0)
	b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, sarama.ErrNotEnoughReplicas))
	publish(t, p, event("orders", key, 2), 2)
	p.Flush(false)
	until(t, "a resend", func() bool { return len(b.sent()) > 3 })
	b.partitions(2)
	topic := p.topics["orders"]
	until(t, "the change to begin", func() bool { return topic.partitions.Load() == nil })
	for i := 3; i < 20; i++ {
		publish(t, p, event("orders", key, i), uint64(i))
		p.Flush(false)
	}
	from := len(b.sent())
	until(t, "five more resends", func() bool { return len(b.sent()) > from+5 })
	if slices.Contains(b.sent(), 1) {
		t.Fatal("an event was placed by the new number while one of its key waited by the old")
	}
	b.answer("ProduceRequest", produceAnswer(t))
	acks.wait(t, 19, 0)
	if !slices.IsSorted(acks.order) || !slices.Contains(b.sent(), 1) {
		t.Errorf("acked %v, sent to partitions %v", acks.order, b.sent())
	}
}

// When a topic is re-created with fewer partitions, events that waited for the missing ones go to the partitions of their keys, in order. A
// row that names a partition that no longer exists is a bad event.
func TestPartitionsThatAreNoMore(t *testing.T) {
	b := newScripted(t, "orders", 3)
	acks := newLedger()
	cfg := config(t, []string{b.Addr()})
	p := open(t, cfg, acks)
	p.confirmFewer = 200 * time.Millisecond
	key := keyOf(t, 2, 3, 0, 1)
	publish(t, p, event("orders", key, 1), 1)
	p.Flush(false)
	acks.wait(t, 1, 0)
	b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 2, sarama.ErrUnknownTopicOrPartition))
	held := 0
	for i := 2; i < 12; i++ {
		held += publish(t, p, event("orders", key, i), uint64(i))
		p.Flush(false)
	}
	until(t, "a resend", func() bool { return len(b.sent()) > 3 })
	named := event("orders", key, 12)
	named.Values[schema.Partition] = []byte("2")
	publish(t, p, named, 12)
	p.Flush(false)
	b.partitions(1)
	for i := 13; i < 20; i++ {
		held += publish(t, p, event("orders", key, i), uint64(i))
		p.Flush(false)
	}
	acks.wait(t, 18, 1)
	if bad := acks.rejection(t, 12); !strings.Contains(bad.Error(), "no partition 2, only 0 to 0; add partitions to the topic") {
		t.Error(bad)
	}
	if !slices.IsSorted(acks.order) {
		t.Errorf("acked %v", acks.order)
	}
	if acks.bytes < held || acks.bytes > held+held/5 { // the first event's are there too
		t.Errorf("%d bytes acked of %d", acks.bytes, held)
	}
	// The partition comes back, and its sequences continue.
	b.answer("ProduceRequest", produceAnswer(t))
	b.partitions(3)
	named = event("orders", key, 21)
	named.Values[schema.Partition] = []byte("2")
	publish(t, p, named, 21)
	p.Flush(false)
	acks.wait(t, 19, 1)
	if next := b.nextSequence(2); next != 1+11+1 && next < 3 {
		t.Errorf("partition 2 is at sequence %d", next)
	}
}

// A broker that lags behind the others, and reports fewer partitions, is not believed.
func TestFewerPartitionsForAMoment(t *testing.T) {
	b := newScripted(t, "orders", 3)
	p, acks, log := openLogged(t, []string{b.Addr()})
	p.refreshEvery, p.confirmFewer = 10*time.Millisecond, time.Hour
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	acks.wait(t, 1, 0)
	topic := p.topics["orders"]
	b.partitions(2)
	until(t, "doubt", func() bool { return topic.partitions.Load() == nil })
	for i := 2; i < 12; i++ {
		publish(t, p, event("orders", fmt.Sprint(i), i), uint64(i))
		p.Flush(false)
	}
	b.partitions(3)
	acks.wait(t, 11, 0)
	if log.says("the number of partitions has changed")() {
		t.Error("fewer partitions were believed after a moment")
	}
}

// When a row names an unknown partition, the sink first asks for the partitions again, and only then calls the event bad.
func TestRowNamesANewPartition(t *testing.T) {
	b := newScripted(t, "orders", 1)
	acks := newLedger()
	p := open(t, config(t, []string{b.Addr()}), acks)
	p.confirmFewer = 300 * time.Millisecond
	to := func(partition string, i int) *schema.Event {
		ev := event("orders", "k", i)
		ev.Values[schema.Partition] = []byte(partition)
		return ev
	}
	publish(t, p, to("0", 1), 1)
	p.Flush(false)
	acks.wait(t, 1, 0)
	publish(t, p, to("3", 2), 2)
	publish(t, p, to("0", 3), 3) // behind it in the same pass
	p.Flush(false)
	if _, rejected := acks.total(); rejected > 0 {
		t.Fatal("called bad at once")
	}
	b.partitions(4) // one broker knew it later than whoever wrote the row
	acks.wait(t, 3, 0)
	if got := b.sent(); !slices.Equal(got[1:], []int32{3, 0}) && !slices.Equal(got[1:], []int32{0, 3}) {
		t.Errorf("sent to partitions %v", got)
	}
	publish(t, p, to("4", 4), 4)
	p.Flush(false)
	acks.wait(t, 3, 1)
	if bad := acks.rejection(t, 4); !strings.Contains(bad.Error(), "no partition 4, only 0 to 3; add partitions to the topic, or correct the code that fills the column") {
		t.Error(bad)
	}
}

// While partitions come and go, each event is reported once, and the events of each key are in order.
func TestPartitionsComeAndGo(t *testing.T) {
	t.Parallel()
	b := newScripted(t, "orders", 3)
	acks := newLedger()
	p := open(t, config(t, []string{b.Addr()}), acks)
	p.refreshEvery, p.confirmFewer = 5*time.Millisecond, time.Millisecond
	const keys = 30
	publish(t, p, event("orders", "k-0", 0), 0)
	events := 1
	topic := p.topics["orders"]
	var changes sync.WaitGroup
	stop := make(chan struct{})
	changes.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			// Some changes come while the previous one is still being applied. But they must stop at some time: lanes that wait longer and
			// longer for partitions that exist only for a moment would never all be settled at the same time.
			if i%4 != 0 || topic.partitions.Load() != nil {
				b.partitions([]int32{5, 2, 7, 1, 3}[i%5])
			} else {
				i--
			}
		}
	})
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); events++ {
		publish(t, p, event("orders", fmt.Sprint("k-", events%keys), events), uint64(events))
		if events%7 == 0 {
			p.Flush(false)
		}
		if events%500 == 0 {
			p.Flush(false) // as the reader does before it waits: in the middle of a pass the lanes are the publisher's, and no change ends
			acks.waitBehind(t, events-2000)
		}
	}
	p.Flush(false)
	close(stop)
	changes.Wait()
	acks.wait(t, events, 0)
	last := map[uint64]uint64{}
	for _, tx := range acks.order {
		if before, seen := last[tx%keys]; seen && tx <= before {
			t.Fatalf("event %d was acked after event %d of its key", tx, before)
		}
		last[tx%keys] = tx
	}
}

// waitBehind returns once this many events were acked.
func (l *ledger) waitBehind(t testing.TB, acked int) {
	until(t, fmt.Sprint(acked, " acks"), func() bool {
		a, _ := l.total()
		return a >= acked
	})
}
