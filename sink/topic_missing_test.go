package sink

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"walpost/internal/kafkatest"
	"walpost/schema"
	"walpost/sink/lane"
	"walpost/sink/recordbatch"
)

// eventTo returns an event whose row names a partition.
func eventTo(topic, key, partition string, i int) *schema.Event {
	ev := event(topic, key, i)
	ev.Values[schema.Partition] = []byte(partition)
	return ev
}

// While nobody knows whether the partition that a row names is new, all events but those of its key flow. When the partition appears, the
// event goes there, and the later ones of its key follow.
func TestOthersFlowWhileAPartitionIsMissing(t *testing.T) {
	acks := newParkingLedger()
	b, p := openFlowing(t, 2, acks)
	p.confirmFewer = time.Hour
	publish(t, p, eventTo("orders", "new", "4", 1), 1)
	publish(t, p, eventTo("orders", "new", "0", 2), 2) // behind it in the same pass
	p.Flush(false)
	publish(t, p, eventTo("orders", "new", "0", 3), 3) // and in the next one
	p.Flush(false)
	for i := 4; i < 40; i++ {
		publish(t, p, event("orders", fmt.Sprint("k-", i), i), uint64(i))
		p.Flush(false)
		acks.wait(t, i-2, 0)
	}
	if w := p.topics["orders"].wait(); w.Since.IsZero() {
		t.Error("nothing waits")
	}
	b.partitions(5)
	acks.wait(t, 40, 0)
	var key []uint64
	for _, tx := range acks.order {
		if 1 <= tx && tx <= 3 {
			key = append(key, tx)
		}
	}
	if !slices.Equal(key, []uint64{1, 2, 3}) && !slices.Equal(key, []uint64{2, 3, 1}) || !slices.Contains(b.sent(), 4) || len(acks.parked()) > 0 {
		t.Errorf("events of the key acked as %v; sent to partitions %v; parked %v", key, b.sent(), acks.parked())
	}
	publish(t, p, event("orders", "new", 40), 40)
	p.Flush(false)
	acks.wait(t, 41, 0)
	if to := p.topics["orders"]; to.missing.any.Load() {
		t.Error("events still take the way around the lanes")
	}
}

// A partition that stays missing: the event is parked, and what waits behind it follows. What has no parked key flows again, in order.
func TestPartitionStaysMissing(t *testing.T) {
	acks := newParkingLedger()
	_, p := openFlowing(t, 2, acks)
	p.confirmFewer = 100 * time.Millisecond
	const events = 400
	var bad []string
	for i := 1; i < events; i++ {
		ev := event("orders", fmt.Sprint("k-", i%7), i)
		switch {
		case i%50 == 3:
			ev = eventTo("orders", "bad", "9", i)
		case i%50 == 5:
			ev = event("orders", "bad", i) // waits behind the one before
		case i%50 == 30:
			ev = eventTo("orders", "", "2", i)
			ev.Values[schema.AggregateID] = nil // nothing waits behind it
		}
		if ev.Values[schema.AggregateID] == nil || string(ev.Values[schema.AggregateID]) == "bad" {
			bad = append(bad, string(ev.Values[schema.ID]))
		}
		publish(t, p, ev, uint64(i))
		if i%10 == 0 {
			p.Flush(false)
		}
		if i == events/2 {
			acks.waitBehind(t, i) // so that some come when the key is parked
		}
	}
	p.Flush(false)
	acks.wait(t, events, 0)
	var parked []string
	acks.guard.Lock()
	for _, d := range acks.letters {
		parked = append(parked, string(d.EventID))
	}
	acks.guard.Unlock()
	perKey := func(ids []string, keyless bool) (of []string) {
		for _, id := range ids {
			if (id[len(id)-2:] == "30" || id[len(id)-2:] == "80") == keyless {
				of = append(of, id)
			}
		}
		return of
	}
	if !slices.Equal(perKey(parked, false), perKey(bad, false)) {
		t.Errorf("parked of the key: %v, want %v", perKey(parked, false), perKey(bad, false))
	}
	if got := perKey(parked, true); len(got) != len(perKey(bad, true)) {
		t.Errorf("parked without a key: %v, want %v", got, perKey(bad, true))
	}
	last := map[uint64]uint64{}
	for _, tx := range acks.order {
		if tx%50 == 3 || tx%50 == 5 || tx%50 == 30 {
			continue
		}
		if before := last[tx%7]; before > tx {
			t.Fatalf("event %d was acked after event %d of its key", tx, before)
		}
		last[tx%7] = tx
	}
	to := p.topics["orders"]
	until(t, "the end of the questions", func() bool {
		to.mu.Lock()
		defer to.mu.Unlock()
		return !to.missing.asking && !to.missing.any.Load() && len(to.missing.keys) == 0
	})
}

// settledLedger is a ledger on which everything that is refused has a dead letter, so that its key is not parked.
type settledLedger struct{ *parkingLedger }

func (l settledLedger) Park(letters []*schema.DeadLetter) {
	for _, d := range letters {
		l.Acked([]schema.Run{{Tx: d.Tx, Rows: 1}}, d.Held)
	}
}

// A row that names a missing partition is delivered again, and has a dead letter. What has waited behind it is sent, in order.
func TestBehindASettledEvent(t *testing.T) {
	acks := settledLedger{newParkingLedger()}
	_, p := openFlowing(t, 2, acks)
	p.confirmFewer = time.Second
	publish(t, p, eventTo("orders", "a", "9", 1), 1)
	publish(t, p, eventTo("orders", "a", "0", 2), 2)
	p.Flush(false)
	to := p.topics["orders"]
	until(t, "the partition is denied", func() bool {
		to.mu.Lock()
		defer to.mu.Unlock()
		return len(to.missing.events) > 0 && !to.missing.events[0].denied.IsZero()
	})
	publish(t, p, eventTo("orders", "a", "0", 3), 3) // its own time is not over when that of the first one is
	p.Flush(false)
	acks.wait(t, 4, 0)
	if !slices.Equal(acks.order, []uint64{0, 1, 2, 3}) {
		t.Errorf("acked %v", acks.order)
	}
}

// Brokers that have denied a partition for an earlier event have not denied it for a later one: the partition may have been added in between.
func TestEachEventOfAMissingPartitionHasItsTime(t *testing.T) {
	acks := newParkingLedger()
	b, p := openFlowing(t, 2, acks)
	p.confirmFewer = 2 * time.Second
	publish(t, p, eventTo("orders", "a", "3", 1), 1)
	p.Flush(false)
	to := p.topics["orders"]
	until(t, "half of the first event's time", func() bool {
		to.mu.Lock()
		defer to.mu.Unlock()
		first := to.missing.events[0]
		return !first.denied.IsZero() && time.Since(first.denied) > time.Second
	})
	publish(t, p, eventTo("orders", "b", "3", 2), 2)
	p.Flush(false)
	acks.wait(t, 2, 0)
	if got := acks.parked(); !slices.Equal(got, []string{"00000001"}) {
		t.Fatalf("parked %v", got)
	}
	b.partitions(4)
	acks.wait(t, 3, 0)
	if got := acks.parked(); len(got) != 1 || !slices.Contains(b.sent(), 3) {
		t.Errorf("parked %v, sent to partitions %v", got, b.sent())
	}
}

// An answer counts against an event only if the question came after the event, and an answer of another kind begins the time anew.
func TestAnswersAboutMissingPartitions(t *testing.T) {
	p, c := offline(t, config(t, nil), newLedger())
	c.create("orders", 2)
	publish(t, p, event("orders", "k", 0), 0)
	p.Flush(false)
	p.placed(t, "orders")
	p.confirmFewer = time.Hour
	to := p.topics["orders"]
	until(t, "the partitions", func() bool { return to.partitions.Load() != nil })
	before := time.Now()
	u := &unplaced{came: before.Add(time.Millisecond), explicit: []int32{5}}
	rec := recordbatch.Record{Value: []byte("v")}
	u.Append(&rec, rec.Size(), lane.Origin{Tx: 1})
	to.mu.Lock()
	to.missing.events, to.missing.asking = []*unplaced{u}, true
	to.mu.Unlock()
	denied := func(asked time.Time, count int, err error) bool {
		if !to.judgeMissing(p, asked, count, err) {
			t.Error("the event is gone")
		}
		return !u.denied.IsZero()
	}
	after := before.Add(2 * time.Millisecond)
	if denied(before, 2, nil) {
		t.Error("an answer to a question from before the event counts")
	}
	for _, test := range []struct {
		count int
		err   error
	}{{2, errors.New("no answer")}, {6, nil}, {1, nil}} {
		for range 2 { // it is refused only after a while, however often it is denied
			if !denied(after, 2, nil) {
				t.Error("a denial does not count")
			}
		}
		if denied(after, test.count, test.err) {
			t.Errorf("it still counts after %d partitions, %v", test.count, test.err)
		}
	}
}

// A service makes rows that name a missing partition all the time. On a real broker, the topic's other events are acked before the first of
// these is parked, and a partition that is added is used.
func TestRowsThatNameAMissingPartition(t *testing.T) {
	t.Parallel()
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 2, nil)
	acks := newParkingLedger()
	p := open(t, config(t, brokers), acks)
	p.confirmFewer = 20 * time.Second // longer than the others take on a busy machine
	publish(t, p, event(topic, "k", 0), 0)
	p.Flush(false)
	acks.wait(t, 1, 0)
	const events, every = 1000, 10
	var want []string
	for i := 1; i <= events; i++ {
		ev := event(topic, fmt.Sprint("k-", i), i)
		if i%every == 0 {
			ev = eventTo(topic, fmt.Sprint("k-", i), "5", i)
			want = append(want, string(ev.Values[schema.ID]))
		}
		publish(t, p, ev, uint64(i))
		p.Flush(false)
	}
	acks.wait(t, 1+events-events/every, 0)
	if got := acks.parked(); len(got) > 0 {
		t.Fatalf("parked before their time: %v", got)
	}
	acks.wait(t, 1+events, 0)
	if got := acks.parked(); !slices.Equal(got, want) {
		t.Errorf("parked %v, want %v", got, want)
	}
	publish(t, p, eventTo(topic, "new", "5", events+1), events+1)
	p.Flush(false)
	if err := admin(t, brokers).CreatePartitions(topic, 6, nil, false); err != nil {
		t.Fatal(err)
	}
	acks.wait(t, 2+events, 0)
	if log := logged(t, brokers, topic, 2+events-events/every); len(log) != 6 || len(log[5]) != 1 {
		t.Errorf("partition 5 has %v", log[len(log)-1])
	}
}
