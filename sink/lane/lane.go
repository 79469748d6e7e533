package lane

import (
	"fmt"
	"sync"
	"time"

	"walpost/sink/kafkaerror"
	"walpost/sink/recordbatch"
)

// Identity is what a lane numbers its records with. A lane is opened with one, so that it can go on where another process stopped; it
// gets a new one when the broker and the lane disagree, or when reusing sequences would be dangerous.
//
// One sequence of a producer always means one event: a broker answers "success" to a sequence that it has seen, whatever the content.
type Identity struct {
	Producer int64
	Epoch    int16
	Next     int32 // sequence of the next record that was never numbered
}

// advance takes n sequences and returns the first. Sequences wrap from 2^31-1 to 0.
func (id *Identity) advance(n int32) int32 {
	first := id.Next
	id.Next = addSequence(first, n)
	return first
}

func addSequence(s, n int32) int32 { return int32((int64(s) + int64(n)) & (1<<31 - 1)) }

// state is where a lane's next batch is.
type state uint8

const (
	idle    state = iota // nobody has it; whoever gives the lane work queues it
	queued               // a sender has it in its queue, or somebody is finding one, waiting or renewing the identity first
	sending              // a request with it is under way
	stopped              // its head was rejected: nothing leaves it any more
	vacant               // its partition is no more, and nobody drives it
)

// Lane is one partition: events in order, one batch under way at a time.
type Lane struct {
	pool *Pool

	// The publishing goroutine's, from the first event of a pass until Flush.
	current *Batch
	filled  []*Batch
	inPass  bool
	reserve int // what a new batch begins with: as much as the one before it had in the end

	mu           sync.Mutex
	sealedLen    int       // bytes of the batch that was sealed last
	partitions   int       // partitions that the topic has while the lane takes events; 0: it takes none
	taken        bool      // the publishing goroutine has what was the open batch
	takenSince   time.Time // when the first event of that was handed over; zero: it holds none from before
	gone         bool      // the partition is no more: whoever drives the lane lets go of it
	open         *Batch    // takes more events; may be taken by a sender at any time
	full         []*Batch  // behind numbered, before open
	numbered     []*Batch  // have their sequences; the first is under way or to be (re)sent, the others came from dividing it
	state        state
	id           Identity
	unclear      bool      // an attempt to send the head may be in the log although it was not acked
	failures     int       // attempts since the last success
	err          error     // why the last of them failed
	failingSince time.Time // when failures began
	sender       Sender    // where its leader is, nil: to be found
}

// Sender is what takes the batches of the lanes that one broker leads.
type Sender interface {
	Addr() string // of the broker
}

// New returns a lane that takes no events yet. Its partition's next record gets id.Next.
func New(id Identity, pool *Pool) *Lane { return &Lane{id: id, pool: pool} }

// Entered reports whether a pass has begun. Publishing goroutine.
func (l *Lane) Entered() bool { return l.inPass }

// Enter begins a pass: from now on until HandOver the open batch is the publishing goroutine's. It returns false if the lane takes no
// events for a topic of so many partitions. Publishing goroutine.
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

// Append appends an event of transaction tx, where size is r.Size(), and returns the bytes that it holds; named says that its row names the
// partition itself. A batch that has an event keeps below limit. Publishing goroutine, after Enter.
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
	if l.current == nil {
		l.current = l.pool.get()
		l.current.records.Reserve(l.reserve)
	}
	return l.current
}

// HandOver gives the pass's events to the senders. It returns whether the caller has to route the lane for it, and whether they fill a
// batch. Publishing goroutine.
func (l *Lane) HandOver(now time.Time) (route, full bool) {
	full = len(l.filled) > 0
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.filled {
		b.HandedOver(now)
	}
	if l.current != nil {
		l.current.HandedOver(now)
	}
	l.full = append(l.full, l.filled...)
	l.open, l.taken, l.takenSince = l.current, false, time.Time{}
	clear(l.filled)
	l.filled, l.current, l.inPass = l.filled[:0], nil, false
	return l.queueIfIdle(), full
}

// queueIfIdle queues an idle lane that has work. l.mu is held; the caller routes the lane if it returns true.
func (l *Lane) queueIfIdle() bool {
	if l.state != idle || len(l.numbered) == 0 && len(l.full) == 0 && l.open == nil {
		return false
	}
	l.state = queued
	return true
}

// Take returns the batch to send now, sealed by e, for a request of s. Only senders call it, for lanes in their queue.
func (l *Lane) Take(s Sender, e *recordbatch.Encoder) (*Batch, error) {
	l.mu.Lock()
	if l.sender != s || l.state != queued {
		l.mu.Unlock()
		return nil, nil
	}
	if l.gone {
		l.state = vacant
		l.mu.Unlock()
		return nil, nil
	}
	if len(l.numbered) == 0 {
		b := l.oldest()
		if b == nil {
			// The publishing goroutine has taken the open batch back to go on filling it, and will queue the lane when it is done.
			l.state = idle
			l.mu.Unlock()
			return nil, nil
		}
		b.seq, l.sealedLen = l.id.advance(b.Count()), b.Len()
		l.numbered = append(l.numbered, b)
	}
	l.state = sending
	head, stamp := l.numbered[0], recordbatch.Stamp{ProducerID: l.id.Producer, Epoch: l.id.Epoch, Sequence: l.numbered[0].seq}
	l.mu.Unlock()
	// While a request with it is under way the head belongs to the sender: compressing needs no lock.
	if head.Wire() == nil {
		return head, head.records.Seal(e, stamp)
	}
	return head, nil
}

// oldest takes the first batch that has no numbers yet, nil if there is none. l.mu is held.
func (l *Lane) oldest() *Batch {
	if len(l.full) == 0 {
		b := l.open
		l.open = nil
		return b
	}
	b := l.full[0]
	n := copy(l.full, l.full[1:])
	l.full[n] = nil
	l.full = l.full[:n]
	return b
}

// Outcome is what became of a lane's head.
type Outcome struct {
	Err   error // nil: appended
	Named int   // index of the record that the broker blames, -1: none
}

// Class returns what the outcome means for the batch.
func (o Outcome) Class() kafkaerror.Class {
	if o.Err == nil {
		return kafkaerror.Done
	}
	return kafkaerror.Classify(o.Err)
}

// Step is what has to be done with a lane after an outcome.
type Step uint8

const (
	Empty    Step = iota // nothing to send
	SendNext             // send the next batch
	Resend               // send the head again, after a while, to whoever leads then
	Renew                // take a new identity first
	Reject               // the head is one refused event: report it
)

// Settle moves the lane on after an answer for its head. It returns the head when it is done with: acked, or rejected.
func (l *Lane) Settle(o Outcome) (Step, *Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := o.Class()
	head := l.numbered[0]
	l.state = queued
	switch v {
	case kafkaerror.Done:
		l.pop()
		l.unclear, l.failures, l.err, l.failingSince = false, 0, nil, time.Time{}
		l.state = idle
		if l.queueIfIdle() {
			return SendNext, head
		}
		return Empty, head

	case kafkaerror.Refused:
		if head.Count() == 1 {
			l.state = stopped
			return Reject, head
		}
		l.divide(o.Named)
		if l.unclear {
			// An earlier attempt may have been appended, for brokers check a batch before they look for its duplicate. Were its
			// sequences used for other records, the broker would take those for duplicates: acked, and lost.
			return Renew, nil
		}
		return SendNext, nil

	case kafkaerror.Lost:
		l.fail(o.Err)
		return Renew, nil

	default: // wait, unclear, alarm
		l.unclear = l.unclear || v == kafkaerror.Unclear
		l.fail(o.Err)
		l.sender = nil
		return Resend, nil
	}
}

func (l *Lane) pop() {
	n := copy(l.numbered, l.numbered[1:])
	l.numbered[n] = nil
	l.numbered = l.numbered[:n]
}

func (l *Lane) fail(err error) {
	l.failures++
	l.err = err
	if l.failingSince.IsZero() {
		l.failingSince = time.Now()
	}
}

// divide replaces the head by its parts: the record that the broker named alone, or two halves. Nothing of the head is in the log, so
// its records keep their sequences.
func (l *Lane) divide(named int) {
	head := l.numbered[0]
	cuts := []int{int(head.Count()) / 2}
	if 0 <= named && named < int(head.Count()) {
		cuts = []int{named, named + 1}
	}
	parts := head.divide(l.pool, cuts...)
	seq := head.seq
	for _, b := range parts {
		b.seq = seq
		seq = addSequence(seq, b.Count())
	}
	l.numbered = append(parts, l.numbered[1:]...)
	l.pool.Put(head)
}

// Renumber gives the lane a new identity, and what was numbered its sequences.
func (l *Lane) Renumber(id Identity) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.id, l.unclear = id, false
	for _, b := range l.numbered {
		b.seq = l.id.advance(b.Count())
		if b.Wire() != nil {
			b.records.Restamp(recordbatch.Stamp{ProducerID: id.Producer, Epoch: id.Epoch, Sequence: b.seq})
		}
	}
}

// Sender returns where the lane's leader is, nil if that is to be found, and whether a full batch waits.
func (l *Lane) Sender() (on Sender, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sender, len(l.full) > 0
}

// SetSender says where the lane's leader is. Whoever drives the lane.
func (l *Lane) SetSender(s Sender) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sender = s
}

// Failing returns how many attempts have failed since the last success, and since when. Whoever drives the lane.
func (l *Lane) Failing() (attempts int, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures, l.failingSince
}

// Waiting returns when the lane's oldest event was handed over, zero if it has none, and what keeps it.
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
