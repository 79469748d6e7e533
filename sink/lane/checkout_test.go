package lane

import (
	"fmt"
	"testing"
	"time"

	"walpost/sink/recordbatch"
)

// A sender may take a lane while the publishing goroutine has its open batch. Then nothing is sent, and the hand-over queues the lane
// again.
func TestTakeWhileTheOpenBatchIsOut(t *testing.T) {
	var pool Pool
	s := &testSender{}
	l := New(Identity{}, &pool, nil)
	l.sender = s
	add := func(i int) {
		if !l.Entered() && !l.Enter(0) {
			t.Fatal("the lane takes no events")
		}
		r := &recordbatch.Record{Value: fmt.Append(nil, i)}
		l.Append(r, r.Size(), 1000, Origin{Tx: uint64(i)}, false)
	}
	add(0)
	if route, _ := l.HandOver(time.Now()); !route {
		t.Fatal("a lane with its first event is not queued")
	}
	add(1) // takes the open batch back while the lane is queued
	if b, err := l.Take(s, nil, ""); b != nil || err != nil {
		t.Fatalf("took %v, %v of a lane whose only batch is out", b, err)
	}
	if route, _ := l.HandOver(time.Now()); !route {
		t.Fatal("the lane is not queued again, and its events would wait for ever")
	}
	l.numbered = append(l.numbered, l.oldest())
	if n := l.numbered[0].Count(); n != 2 {
		t.Fatalf("%d events in the batch, want 2", n)
	}
}
