package sink

import (
	"testing"
	"time"

	"walpost/sink/record"
)

// A lane may be taken by its sender while the publishing goroutine has the open batch out. Nothing is sent then, and the hand-over queues
// the lane again.
func TestTakeWhileTheOpenBatchIsOut(t *testing.T) {
	var pool pool
	s := &sender{}
	l := newLane(&topic{name: "t"}, 0, identity{})
	l.on = s
	add := func(i int) {
		if !l.dirty && !l.enter(0) {
			t.Fatal("the lane takes no events")
		}
		b := l.writable(&pool, 100, 1000)
		r, err := (&record.Composer{}).Compose(event("t", "k", i))
		if err != nil {
			t.Fatal(err)
		}
		b.count(uint64(i), b.Append(r, r.Size()))
	}
	add(0)
	if !l.handOver(time.Now()) {
		t.Fatal("a lane with its first event is not queued")
	}
	add(1) // takes the open batch back while the lane is queued
	if b, err := l.take(s); b != nil || err != nil {
		t.Fatalf("took %v, %v of a lane whose only batch is out", b, err)
	}
	if !l.handOver(time.Now()) {
		t.Fatal("the lane is not queued again, and its events would wait for ever")
	}
	l.numbered = append(l.numbered, l.oldest())
	if n := l.numbered[0].Count(); n != 2 {
		t.Fatalf("%d events in the batch, want 2", n)
	}
}
