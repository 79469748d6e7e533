package sink

import (
	"slices"
	"testing"
	"time"

	"walpost/schema"
	"walpost/sink/lane"
)

// duringPlace is the Acks of a test that acts while waiting events are placed. It uses a row that names a partition that does not exist,
// which is rejected in the middle of placing.
type duringPlace struct{ act func() }

func (duringPlace) Acked([]schema.Run, int)  {}
func (d duringPlace) Rejected(uint64, error) { d.act() }

// The publishing goroutine may be descheduled between loading a topic's partitions and entering a lane, and continue while the topic is
// being arranged again. Until the waiting events are in the lanes, no lane lets it in. Otherwise a batch that is placed there would be
// lost.
func TestNoPassBeginsWhileEventsArePlaced(t *testing.T) {
	acks := &duringPlace{}
	p, c := offline(t, config(t, nil), acks)
	p.confirmFewer = time.Millisecond
	c.create("orders", 1)
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	p.placed(t, "orders")
	to := p.topics["orders"]
	until(t, "the partitions", func() bool { return to.partitions.Load() != nil })

	loaded := *to.partitions.Load() // by the publishing goroutine, before the change
	entered := make(chan bool, 1)
	acks.act = func() { entered <- loaded[0].lane.Enter(len(loaded)) }
	named := event("orders", "k", 2)
	named.Values[schema.Partition] = []byte("3")
	publish(t, p, named, 2)
	publish(t, p, event("orders", "k", 3), 3)
	p.Flush(false)
	if <-entered {
		t.Error("a pass began in a lane while events were placed there")
		until(t, "the partitions", func() bool { return to.partitions.Load() != nil })
		r, err := p.composer.Compose(event("orders", "k", 4))
		if err != nil {
			t.Fatal(err)
		}
		loaded[0].lane.Append(r, r.Size(), 1000, lane.Origin{Tx: 4}, false)
		loaded[0].lane.HandOver(time.Now())
	}
	until(t, "the partitions", func() bool { return to.partitions.Load() != nil })
	if got, want := idsOf(p.takeQueued("orders")[0]), []string{"00000001", "00000003"}; !slices.Equal(got, want) {
		t.Errorf("the lane has events %v, want %v", got, want)
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
