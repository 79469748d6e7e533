package sink

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"walpost/sink/lane"
	"walpost/sink/recordbatch"
)

// The publishing goroutine may be descheduled between loading a topic's partitions and entering a lane, and continue while the topic is
// being arranged again. Until the waiting events are in the lanes, no lane lets it in. Otherwise a batch that is placed there would be
// lost, and HandOver panics.
func TestNoPassBeginsWhileEventsArePlaced(t *testing.T) {
	p, c := offline(t, config(t, nil), newLedger())
	c.create("orders", 1)
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	p.placed(t, "orders")
	to := p.topics["orders"]
	until(t, "the partitions", func() bool { return to.partitions.Load() != nil })

	loaded := *to.partitions.Load() // by the publishing goroutine, before the change
	waiting := &unplaced{}
	waiting.HandedOver(time.Now())
	const events = 20_000 // placing them takes much longer than entering a lane
	for i := 2; i <= events; i++ {
		rec := recordbatch.Record{Value: fmt.Append(nil, i)}
		waiting.Append(&rec, rec.Size(), lane.Origin{Tx: uint64(i)})
		waiting.explicit = append(waiting.explicit, 0)
	}
	to.mu.Lock()
	to.waiting = append(to.waiting, waiting)
	to.reconsider(p)
	to.mu.Unlock()
	for !loaded[0].lane.Enter(len(loaded)) {
	}
	until(t, "the partitions", func() bool { return to.partitions.Load() != nil })
	loaded[0].lane.HandOver(time.Now())
	if since, _ := loaded[0].lane.Waiting(); since.IsZero() {
		t.Error("the events are gone")
	}
}

// Lanes open one after the other, so a pass may enter the first lane and find the next one closed. The pass holds its events from there on,
// and they go to the lanes behind those that it wrote directly.
func TestAPassFindsSomeLanesOpen(t *testing.T) {
	p, c := offline(t, config(t, nil), newLedger())
	c.create("orders", 2)
	first, second := keyOf(t, 0, 2, 0, 2), keyOf(t, 1, 2, 1, 2)
	publish(t, p, event("orders", first, 1), 1)
	p.Flush(false)
	p.placed(t, "orders")
	to := p.topics["orders"]
	until(t, "the partitions", func() bool { return to.partitions.Load() != nil })

	closed := (*to.partitions.Load())[1].lane
	closed.Refuse()
	publish(t, p, event("orders", first, 2), 2)
	publish(t, p, event("orders", second, 3), 3)
	publish(t, p, event("orders", first, 4), 4)
	closed.Accept(2)
	p.Flush(false)
	got := p.takeQueued("orders")
	if ids, want := idsOf(got[0]), []string{"00000001", "00000002", "00000004"}; !slices.Equal(ids, want) {
		t.Errorf("partition 0 has events %v, want %v", ids, want)
	}
	if ids, want := idsOf(got[1]), []string{"00000003"}; !slices.Equal(ids, want) {
		t.Errorf("partition 1 has events %v, want %v", ids, want)
	}
}
