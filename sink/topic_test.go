package sink

import (
	"fmt"
	"io"
	"testing"
	"time"

	"walpost/schema"
	"walpost/sink/lane"
	"walpost/sink/recordbatch"
)

// Events that wait for their partitions are in full batches, whatever the passes brought. They are in order, and each keeps its transaction
// and the bytes that it holds.
func TestWaitingEventsArePacked(t *testing.T) {
	const limit = 64 << 10
	for _, rows := range []int{1, 20, 60, 99, 250} { // of 600 bytes, in a pass: a little, somewhat more than half a batch, more than one
		t.Run(fmt.Sprint(rows, " rows a pass"), func(t *testing.T) {
			to := &topic{name: "t"}
			to.limit.Store(limit)
			held, n := 0, 0
			for pass := range 40 {
				for range rows {
					r := &recordbatch.Record{Timestamp: int64(1000 + pass), Key: fmt.Append(nil, n), Value: make([]byte, 600)}
					held += to.hold(r, r.Size(), int32(n%3-1), lane.Origin{Tx: uint64(n / 7)})
					n++
				}
				to.handOver(&Producer{}, time.Unix(int64(1+pass), 0))
			}
			// A batch that a lane gave back is sealed and accepts no more events.
			back, used, next := 0, 0, 0
			var runs []schema.Run
			for i, u := range to.waiting {
				if last := i == len(to.waiting)-1; !last && u.Len() < limit-700 {
					t.Errorf("batch %d of %d has %d bytes, and the limit is %d", i, len(to.waiting), u.Len(), limit)
				} else if u.Len() > limit {
					t.Errorf("batch %d has %d bytes, and the limit is %d", i, u.Len(), limit)
				}
				if u.Since().IsZero() {
					t.Errorf("batch %d has no time since when it waits", i)
				}
				back, used = back+u.Held(), used+u.Len()
				runs = append(runs, u.Runs()...)
				u.EachHeld(func(i int, r recordbatch.Raw, from lane.Origin, _ int) {
					tx := from.Tx
					if key := string(r.Record().Key); key != fmt.Sprint(next) || tx != uint64(next/7) || u.explicit[i] != int32(next%3-1) {
						t.Fatalf("event %d: key %s, transaction %d, partition %d", next, key, tx, u.explicit[i])
					}
					next++
				})
			}
			if next != n || back != held {
				t.Errorf("%d events that hold %d bytes wait, and %d with %d were published", next, back, n, held)
			}
			owed := int32(0)
			for _, run := range runs {
				owed += run.Rows
			}
			if int(owed) != n {
				t.Errorf("%d acks are owed for %d events", owed, n)
			}
		})
	}
}

// A batch that a lane gave back is sealed, and accepts no more events.
func TestSealedBatchesWaitAsTheyAre(t *testing.T) {
	to := &topic{name: "t"}
	to.limit.Store(64 << 10)
	publish := func(key string) {
		r := &recordbatch.Record{Key: []byte(key)}
		to.hold(r, r.Size(), -1, lane.Origin{Tx: 1})
	}
	encoder, err := recordbatch.NewEncoder(recordbatch.None)
	if err != nil {
		t.Fatal(err)
	}
	l, s := lane.New(lane.Identity{}, &lane.Pool{}, nil), &sender{}
	l.Accept(1)
	l.Enter(1)
	before := &recordbatch.Record{Key: []byte("before")}
	l.Append(before, before.Size(), 64<<10, lane.Origin{Tx: 1}, false)
	l.HandOver(time.Now())
	l.SetSender(s)
	if _, err := l.Take(s, encoder, ""); err != nil {
		t.Fatal(err)
	}
	l.Settle(lane.Outcome{Err: io.EOF})
	to.waiting = (&partition{lane: l, topic: to}).giveBack()
	for _, key := range []string{"a", "b"} {
		publish(key)
		to.handOver(&Producer{}, time.Now())
	}
	if len(to.waiting) != 2 || to.waiting[0].Count() != 1 || to.waiting[1].Count() != 2 {
		t.Errorf("%d batches wait", len(to.waiting))
	}
}
