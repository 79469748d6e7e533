package sink

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"walpost/internal/breaker"
	"walpost/schema"
	"walpost/sink/lane"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// topic is a Kafka topic that events go to. It has its partitions. While these are not known, or while they change, it holds the events
// that wait for them.
type topic struct {
	name       string
	limit      atomic.Int64                 // maximum bytes of a batch, uncompressed
	rereads    atomic.Bool                  // the limit is being read again, because it was raised
	partitions atomic.Pointer[[]*partition] // by index; nil: not known now, and arrange is running
	used       atomic.Int64                 // when it last got an event, in seconds since 1970
	warned     warnings
	failing    atomic.Int32 // lanes that have failed since their last ack
	acked      atomic.Int64 // when it last had an ack, in nanoseconds since 1970
	condition  condition    // only judgeTopics uses it
	breaker    breaker.Breaker

	published, bytes prometheus.Counter

	// Only the publishing goroutine uses these.
	staged []*unplaced // published in this pass
	dirty  bool

	mu      sync.Mutex   // outermost, see Producer.mu
	waiting []*unplaced  // handed over while partitions was nil, in order
	missing missing      // events of partitions that the topic does not have, see topic_missing.go
	all     []*partition // by index, all partitions that the topic ever had: the lane of one that is gone keeps its sequences, in case it comes back
	count   int          // number of partitions now; 0: not known yet
	err     error        // why the partitions are not known, or have no lanes yet
	ended   bool         // the topic was forgotten: a later event of the same name creates a new topic
}

func (t *topic) String() string { return "topic " + t.name }

// unplaced is a batch of events that have no partition yet.
type unplaced struct {
	lane.Batch
	explicit []int32 // per record, -1: by hash

	// Of events in topic.missing only: when they came, and since when the brokers have reported, in answers to later questions, that their
	// partitions do not exist; zero: they have not.
	came, denied time.Time
}

// hold keeps an event until the partitions are known. Only the publishing goroutine calls it.
func (t *topic) hold(r *recordbatch.Record, size int, explicit int32, from lane.Origin) int {
	limit := int(t.limit.Load())
	n := len(t.staged)
	if n == 0 || t.staged[n-1].Len()+size+recordbatch.Overhead > limit {
		t.staged = append(t.staged, &unplaced{})
		n++
	}
	u := t.staged[n-1]
	length := u.Append(r, size, from)
	u.explicit = append(u.explicit, explicit)
	return length
}

// handOver ends a pass. The events that the pass held wait with the others, or go to their lanes if the partitions have become known
// meanwhile.
func (t *topic) handOver(p *Producer, now time.Time) {
	t.dirty = false
	t.used.Store(now.Unix())
	t.mu.Lock()
	defer t.mu.Unlock()
	partitions := t.partitions.Load()
	for _, u := range t.staged {
		u.HandedOver(now)
		if partitions == nil {
			t.pack(u)
		} else {
			t.waiting = append(t.waiting, u)
		}
	}
	t.staged = nil
	if partitions == nil && t.isParked(p) {
		t.sift(p)
	}
	if partitions != nil {
		t.place(p, *partitions)
		t.wake(p, *partitions)
	}
}

// pack adds a pass's events to the waiting ones, in batches that are as full as possible. A pass seldom brings a whole batch, and a
// half-empty buffer takes as much memory as a full one. So a waiting backlog would otherwise take up to twice the memory that the relay
// allows. t.mu is held.
func (t *topic) pack(u *unplaced) {
	if len(t.waiting) == 0 {
		t.waiting = append(t.waiting, u)
		return
	}
	limit := int(t.limit.Load())
	last := t.waiting[len(t.waiting)-1]
	u.EachHeld(func(i int, r recordbatch.Raw, from lane.Origin, held int) {
		// A batch that a lane gave back may be sealed.
		if last.Wire() != nil || last.Len()+r.Len+recordbatch.Overhead > limit {
			last = &unplaced{}
			last.HandedOver(u.Since())
			t.waiting = append(t.waiting, last)
		}
		last.AppendRaw(r, from, held)
		last.explicit = append(last.explicit, u.explicit[i])
	})
	u.Reset()
}

// place moves the waiting events to their lanes, in order. Meanwhile, no pass writes to these lanes. Events whose row names a partition that
// is not there go to t.missing, and so do later events of their keys. t.mu is held.
func (t *topic) place(p *Producer, partitions []*partition) {
	limit := int(t.limit.Load())
	blocked := t.isParked(p)
	for _, u := range t.waiting {
		parked := p.aside(t.name)
		u.EachHeld(func(i int, r recordbatch.Raw, from lane.Origin, held int) {
			n := u.explicit[i]
			named := n >= 0
			if !named {
				n = p.cfg.Partitioner.Partition(record.PartitionKey(r), int32(len(partitions)))
			}
			if int(n) >= len(partitions) || t.missing.has(r.Key()) {
				if blocked {
					if v := p.verdict(t.name, r.Key(), from); v != schema.Send {
						parked.add(v, r, from, held, u.explicit[i])
						return
					}
				}
				t.missing.add(r, from, held, u.explicit[i], u.Since(), limit)
				return
			}
			partitions[n].lane.AppendWaiting(r, from, held, named, u.Since(), limit)
		})
		u.Reset() // here, so that the next batch's records can use its buffer
		parked.report()
	}
	t.waiting = nil
	t.missing.endBatch()
	if len(t.missing.events) > 0 && !t.missing.asking {
		t.missing.asking = true
		p.start(func() { t.askForMissing(p) })
	}
}

// wake routes the lanes that were idle and now have events. t.mu is held.
func (t *topic) wake(p *Producer, partitions []*partition) {
	for _, part := range partitions {
		if part.lane.Wake() {
			p.route(part)
		}
	}
}
