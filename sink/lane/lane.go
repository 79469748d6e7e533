package lane

import (
	"fmt"
	"sync"
	"time"

	"walpost/sink/recordbatch"
)

// state is the state of a lane's head, see the package comment.
type state uint8

const (
	idle    state = iota // nothing: the caller that adds events queues the lane
	queued               // its driver is about to send it
	sending              // a request with the head is under way
	stopped              // the head was rejected, and there is no sieve: the lane sends nothing any more
	vacant               // the partition no longer exists, and the lane has no driver
)

// Lane holds the events of one partition, in order, and has one batch under way at a time. The package comment says who may call which
// method.
type Lane struct {
	pool  *Pool
	sieve Sieve // nil: every event is to be sent, and the lane stops behind one that is refused

	// The publishing goroutine uses these, from Enter to HandOver.
	current *Batch   // takes the next event
	filled  []*Batch // full batches of this pass, before current
	inPass  bool
	reserve int // how many bytes a new batch reserves: the final size of the previous one

	// mu guards the fields below. It is held only briefly, and no other lock of the sink is taken under it.
	mu           sync.Mutex
	sealedLen    int  // size of the batch that was sealed last
	taken        bool // the publishing goroutine has the open batch
	gone         bool // the partition no longer exists: the driver stops driving the lane
	sifting      bool // the sieve is looking at events that have left full or open
	unclear      bool // an attempt to send the head may have reached the log without an ack
	state        state
	partitions   int32     // number of partitions for which the lane accepts events; 0: it accepts none
	failures     int32     // failed attempts since the last success
	takenSince   time.Time // when the first event of the batch that is taken was handed over; zero: no event of it was handed over
	siftedSince  int64     // when the first event that the sieve looks at was handed over, in nanoseconds since 1970
	behind       []*Batch  // come after the open batch that the publishing goroutine has; nil while it has none
	open         *Batch    // accepts more events, and may be sent at any time
	full         []*Batch  // come after numbered and before open
	numbered     []*Batch  // have their sequences: first the head, then the other parts if it was divided
	id           Identity
	err          error     // why the last attempt failed
	failingSince time.Time // when failures began
	sender       Sender    // sender of the partition's leader; nil: the leader must be found
	lost         error     // why the leader could not be found; nil while sender is set
}

// New returns a lane that accepts no events yet. The partition's next record gets the sequence id.Next. sieve may be nil: then every event
// is sent, and the lane stops at the first one that is refused.
func New(id Identity, pool *Pool, sieve Sieve) *Lane { return &Lane{id: id, pool: pool, sieve: sieve} }

// Entered reports whether a pass has begun.
func (l *Lane) Entered() bool { return l.inPass }

// Enter begins a pass: until HandOver, the publishing goroutine owns the open batch. It returns false if the lane does not accept events
// for a topic with this number of partitions.
func (l *Lane) Enter(partitions int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(l.partitions) != partitions {
		return false
	}
	l.current, l.open, l.taken, l.takenSince = l.open, nil, true, time.Time{}
	if l.current != nil {
		l.takenSince = l.current.since
	}
	l.inPass, l.reserve = true, l.sealedLen
	return true
}

// Append adds an event, after Enter. size is r.Size(). named means that the row names the partition itself. A batch gets
// larger than limit only if a single event is larger. Append returns the bytes that the event holds until it is acked.
func (l *Lane) Append(r *recordbatch.Record, size, limit int, from Origin, named bool) int {
	b := l.writable(size+recordbatch.Overhead, limit)
	n := b.Append(r, size, from)
	if named {
		b.MarkNamed()
	}
	return n
}

// writable returns the batch for the next event, which has size bytes at most.
func (l *Lane) writable(size, limit int) *Batch {
	if l.current != nil && l.current.Count() > 0 && l.current.Len()+size > limit {
		l.reserve = l.current.Len()
		l.filled = append(l.filled, l.current)
		l.current = nil
	}
	switch b := l.current; {
	case b == nil:
		l.current = l.pool.Get()
		l.pool.reserve(l.current, l.reserve)
	case b.records.Room() < size && b.Len() >= fewLarge: // reserves twice as much, up to the limit
		l.pool.reserve(b, max(b.Len()+size, min(2*b.Len(), limit)))
	}
	return l.current
}

// HandOver ends a pass: its events may be sent from now on. route reports whether the lane was idle, so that the caller has to route it.
// full reports whether the events fill a batch. HandOver panics if AppendWaiting was called since Enter.
func (l *Lane) HandOver(now time.Time) (route, full bool) {
	full = len(l.filled) > 0
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil {
		panic("lane: events were placed in the middle of a pass") // otherwise one of the two open batches would be lost
	}
	for _, b := range l.filled {
		b.HandedOver(now)
		b.recount()
	}
	if l.current != nil {
		l.current.HandedOver(now)
		l.current.recount()
	}
	l.full = append(l.full, l.filled...)
	l.open, l.taken, l.takenSince = l.current, false, time.Time{}
	l.placeBehind()
	clear(l.filled)
	l.filled, l.current, l.inPass = l.filled[:0], nil, false
	return l.queueIfIdle(), full
}

// queueIfIdle queues an idle lane that has events, and reports whether it did. l.mu is held.
func (l *Lane) queueIfIdle() bool {
	if l.state != idle || len(l.numbered) == 0 && len(l.full) == 0 && l.open == nil {
		return false
	}
	l.state = queued
	return true
}

// Held returns how many bytes the lane's events hold, except those of the pass that is open.
func (l *Lane) Held() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, batches := range [][]*Batch{l.numbered, l.full, l.behind} {
		for _, b := range batches {
			n += b.held
		}
	}
	if l.open != nil {
		n += l.open.held
	}
	return n
}

// Waiting returns when the lane's oldest event was handed over, and the error that it waits with. The time is zero if no event waits for
// Kafka.
func (l *Lane) Waiting() (since time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state == stopped: // a refused event does not wait for Kafka
		return time.Time{}, nil
	case l.sifting:
		since = time.Unix(0, l.siftedSince)
	case len(l.numbered) > 0:
		since = l.numbered[0].since
	case len(l.full) > 0:
		since = l.full[0].since
	case l.open != nil:
		since = l.open.since
	default:
		since = l.takenSince
	}
	if err = l.err; l.lost != nil {
		err = l.lost
	}
	if err == nil && l.state == sending && !l.sifting {
		err = fmt.Errorf("no answer from broker %s", l.sender.Addr())
	}
	return since, err
}
