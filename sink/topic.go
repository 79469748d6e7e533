package sink

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"walpost/sink/lane"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// topic is a topic that events go to. It has its partitions, or, while they are not known or change, the events that wait for them.
type topic struct {
	name       string
	limit      atomic.Int64                 // bytes of a batch, uncompressed
	partitions atomic.Pointer[[]*partition] // by index; nil: not known now, and arrange is at work
	used       atomic.Int64                 // when it last got an event, in seconds since 1970
	warned     warnings

	published, bytes prometheus.Counter

	// The publishing goroutine's.
	staged []*unplaced // published in this pass
	dirty  bool

	mu      sync.Mutex   // outermost, see Producer.mu
	waiting []*unplaced  // handed over while partitions was nil, in order
	needs   int32        // partitions that there must be for all that wait, as far as rows name them
	all     []*partition // by index, all that there ever were: the lane of one that is gone keeps its sequences, should it come back
	count   int          // how many of them there are now; 0: not known yet
	err     error        // why the partitions are not known, or have no lanes yet
	ended   bool         // it was forgotten: an event of the same name makes another topic
}

func (t *topic) String() string { return "topic " + t.name }

// unplaced is a batch of events that have no partition yet.
type unplaced struct {
	lane.Batch
	explicit []int32 // per record, -1: by hash
	needs    int32   // partitions that there must be for them
}

// hold keeps an event until the partitions are known. Publishing goroutine.
func (t *topic) hold(r *recordbatch.Record, size int, explicit int32, tx uint64) int {
	limit := int(t.limit.Load())
	n := len(t.staged)
	if n == 0 || t.staged[n-1].Len()+size+recordbatch.Overhead > limit {
		t.staged = append(t.staged, &unplaced{})
		n++
	}
	u := t.staged[n-1]
	length := u.Append(r, size, tx)
	u.explicit = append(u.explicit, explicit)
	u.needs = max(u.needs, explicit+1)
	return length
}

// handOver ends a pass: its held events wait with the others, or go to their lanes if the partitions have become known meanwhile. A row that
// names a partition of which nobody has heard yet makes the topic ask again first.
func (t *topic) handOver(p *Producer, now time.Time) {
	t.dirty = false
	t.used.Store(now.Unix())
	t.mu.Lock()
	defer t.mu.Unlock()
	partitions := t.partitions.Load()
	for _, u := range t.staged {
		u.HandedOver(now)
		t.needs = max(t.needs, u.needs)
		if partitions == nil {
			t.pack(u)
		} else {
			t.waiting = append(t.waiting, u)
		}
	}
	t.staged = nil
	if partitions != nil {
		if int(t.needs) > len(*partitions) {
			t.reconsider(p)
			return
		}
		t.place(p, *partitions)
		t.wake(p, *partitions)
	}
}

// pack lets a pass's events wait, in batches as full as they may be. What a pass brings is seldom a whole batch, and a buffer that is half
// empty takes the memory of a full one: a backlog that waits would take up to twice what the relay bounds. t.mu is held.
func (t *topic) pack(u *unplaced) {
	if len(t.waiting) == 0 {
		t.waiting = append(t.waiting, u)
		return
	}
	limit := int(t.limit.Load())
	last := t.waiting[len(t.waiting)-1]
	u.eachHeld(func(i int, r recordbatch.Raw, tx uint64, held int) {
		// What a lane gave back may be sealed.
		if last.Wire() != nil || last.Len()+r.Len+recordbatch.Overhead > limit {
			last = &unplaced{}
			last.HandedOver(u.Since())
			t.waiting = append(t.waiting, last)
		}
		last.AppendRaw(r, tx, held)
		last.explicit = append(last.explicit, u.explicit[i])
	})
	u.Reset()
}

// eachHeld calls f for every event with its record, its transaction and the bytes that it holds. What the events hold altogether is given
// out altogether: a record's length is not always what was counted for it, as where a batch was divided.
func (u *unplaced) eachHeld(f func(i int, r recordbatch.Raw, tx uint64, held int)) {
	left := u.Held()
	u.Each(func(i int, r recordbatch.Raw, tx uint64) {
		held := min(r.Len, left)
		if i == int(u.Count())-1 {
			held = left
		}
		left -= held
		f(i, r, tx, held)
	})
}

// place moves the waiting events to their lanes, in order. No pass writes to one of these meanwhile. t.mu is held.
func (t *topic) place(p *Producer, partitions []*partition) {
	limit := int(t.limit.Load())
	for _, u := range t.waiting {
		u.eachHeld(func(i int, r recordbatch.Raw, tx uint64, held int) {
			n := u.explicit[i]
			named := n >= 0
			if !named {
				n = p.cfg.Partitioner.Partition(record.PartitionKey(r), int32(len(partitions)))
			}
			if int(n) >= len(partitions) {
				p.rejected(tx, record.BadPartition(t.name, r, n, len(partitions)))
				return
			}
			partitions[n].lane.AppendWaiting(r, tx, held, named, u.Since(), limit)
		})
		u.Reset() // its buffer may serve the next one's records already
	}
	t.waiting, t.needs = nil, 0
}

// wake routes the lanes that were idle and have got work. t.mu is held.
func (t *topic) wake(p *Producer, partitions []*partition) {
	for _, part := range partitions {
		if part.lane.Wake() {
			p.route(part)
		}
	}
}
