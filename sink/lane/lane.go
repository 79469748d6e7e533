package lane

import (
	"fmt"
	"sync"
	"time"

	"walpost/sink/recordbatch"
)

// state is what happens to a lane's head, see the package comment.
type state uint8

const (
	idle    state = iota // nothing: whoever gives the lane work queues it
	queued               // its driver is about to send it
	sending              // a request with it is under way
	stopped              // it was rejected: nothing leaves the lane any more
	vacant               // its partition is no more, and the lane has no driver
)

// Lane is one partition: events in order, one batch under way at a time. Who may call which method stands in the package comment.
type Lane struct {
	pool *Pool

	// The publishing goroutine's, from Enter to HandOver.
	current *Batch   // takes the next event
	filled  []*Batch // full ones of this pass, before current
	inPass  bool
	reserve int // what a new batch begins with: as much as the one before it had in the end

	// mu guards everything below. It is held for moments, and no other lock of the sink is taken under it.
	mu           sync.Mutex
	sealedLen    int       // bytes of the batch that was sealed last
	partitions   int       // partitions that the topic has while the lane takes events; 0: it takes none
	taken        bool      // the publishing goroutine has what was the open batch
	takenSince   time.Time // when the first event of that was handed over; zero: it holds none from before
	gone         bool      // the partition is no more: the driver lets go of the lane
	open         *Batch    // takes more events, and may be sent at any time
	full         []*Batch  // wait behind numbered, before open
	numbered     []*Batch  // have their sequences: the head, which is sent first, and what came from dividing it
	state        state
	id           Identity
	unclear      bool      // an attempt to send the head may be in the log although it was not acked
	failures     int       // attempts since the last success
	err          error     // why the last of them failed
	failingSince time.Time // when failures began
	sender       Sender    // where its leader is, nil: to be found
}

// New returns a lane that takes no events yet. Its partition's next record gets id.Next.
func New(id Identity, pool *Pool) *Lane { return &Lane{id: id, pool: pool} }

// Entered reports whether a pass has begun.
func (l *Lane) Entered() bool { return l.inPass }

// Enter begins a pass: until HandOver the open batch is the publishing goroutine's. It returns false if the lane takes no events for a topic
// of so many partitions.
func (l *Lane) Enter(partitions int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.partitions != partitions {
		return false
	}
	l.current, l.open, l.taken, l.takenSince = l.open, nil, true, time.Time{}
	if l.current != nil {
		l.takenSince = l.current.since
	}
	l.inPass, l.reserve = true, l.sealedLen
	return true
}

// Append adds an event of transaction tx, after Enter. size is r.Size(), and named says that the row names the partition itself. A batch
// grows beyond limit only by a single event that is larger. Append returns the bytes that the event holds until it is acked.
func (l *Lane) Append(r *recordbatch.Record, size, limit int, tx uint64, named bool) int {
	b := l.writable(size+recordbatch.Overhead, limit)
	n := b.Append(r, size, tx)
	if named {
		b.markNamed()
	}
	return n
}

// writable returns the batch that takes the next event, of so many bytes at most.
func (l *Lane) writable(size, limit int) *Batch {
	if l.current != nil && l.current.Count() > 0 && l.current.Len()+size > limit {
		l.reserve = l.current.Len()
		l.filled = append(l.filled, l.current)
		l.current = nil
	}
	switch b := l.current; {
	case b == nil:
		l.current = l.pool.get()
		l.pool.reserve(l.current, l.reserve)
	case b.records.Room() < size && b.Len() >= fewLarge: // twice as much, up to what it will take
		l.pool.reserve(b, max(b.Len()+size, min(2*b.Len(), limit)))
	}
	return l.current
}

// HandOver ends a pass: its events may be sent from now on. route reports whether the lane was idle, so that the caller has to route it;
// full, whether the events fill a batch. It panics if AppendWaiting was called since Enter.
func (l *Lane) HandOver(now time.Time) (route, full bool) {
	full = len(l.filled) > 0
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil {
		panic("lane: events were placed in the middle of a pass") // one of the two open batches would be nobody's
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
	clear(l.filled)
	l.filled, l.current, l.inPass = l.filled[:0], nil, false
	return l.queueIfIdle(), full
}

// queueIfIdle queues an idle lane that has work, and reports whether it did. l.mu is held.
func (l *Lane) queueIfIdle() bool {
	if l.state != idle || len(l.numbered) == 0 && len(l.full) == 0 && l.open == nil {
		return false
	}
	l.state = queued
	return true
}

// Waiting returns when the lane's oldest event was handed over, and what keeps it. The time is zero if no event waits for Kafka.
func (l *Lane) Waiting() (since time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state == stopped: // a refused event is not for Kafka to take
		return time.Time{}, nil
	case len(l.numbered) > 0:
		since = l.numbered[0].since
	case len(l.full) > 0:
		since = l.full[0].since
	case l.open != nil:
		since = l.open.since
	default:
		since = l.takenSince
	}
	if err = l.err; err == nil && l.state == sending {
		err = fmt.Errorf("no answer from broker %s", l.sender.Addr())
	}
	return since, err
}
