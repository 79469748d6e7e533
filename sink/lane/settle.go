package lane

import (
	"slices"
	"time"

	"walpost/sink/kafkaerror"
)

// Outcome is the outcome of a request with a lane's head.
type Outcome struct {
	Err   error   // nil: the head is in the log
	Named []int32 // indices of the records that the broker names as the cause, in any order; those that the head does not have are ignored
}

// Class returns what the outcome means for the head.
func (o Outcome) Class() kafkaerror.Class {
	if o.Err == nil {
		return kafkaerror.Done
	}
	return kafkaerror.Classify(o.Err)
}

// Step is the next step that the lane's driver has to do.
type Step uint8

// The steps.
const (
	Empty    Step = iota // nothing is left to send: the lane has no driver any more
	SendNext             // route the lane: there is a next batch to send
	Resend               // pause, find the partition's leader, and route the lane: the head is to be sent again
	Renew                // take a new producer id and call Renumber; then do the same as for Resend
	Reject               // report the event, which is alone in the head and was refused for good; the lane has no driver any more
	SetAside             // park that event, and then do the step that Next returns
)

// Settle applies the outcome of a request with the lane's head. If the head is acked, Settle returns it: the caller reports it and puts it
// back into the pool. If the head is rejected, Settle returns it too, and the caller reports it.
func (l *Lane) Settle(o Outcome) (Step, *Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := o.Class()
	if v == kafkaerror.Repeated {
		// An earlier attempt may have got there. If not, the broker has seen the sequence with something that this lane did not send.
		if v = kafkaerror.Lost; l.unclear {
			v = kafkaerror.Done
		}
	}
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
		if head.Count() == 1 && (l.sieve == nil || !l.sieve.Parks()) {
			l.state = stopped
			return Reject, head
		}
		if head.Count() == 1 {
			l.setAside()
			return SetAside, head
		}
		l.divide(head.valid(o.Named))
		if l.unclear {
			// An earlier attempt may have been appended, because brokers check a batch before they check whether it is a duplicate. If its
			// sequences were used for other records, the broker would treat those as duplicates: they would be acked, and lost.
			return Renew, nil
		}
		return SendNext, nil

	case kafkaerror.Lost:
		l.fail(o.Err)
		return Renew, nil

	case kafkaerror.Cut:
		l.fail(o.Err)
		if head.Count() > 1 {
			l.divide(nil)
			l.unclear = true
			return Renew, nil // the head may have been appended, so the same applies as for Refused
		}
		l.unclear, l.sender = true, nil
		return Resend, nil

	default: // Wait, Unclear, Alarm
		l.unclear = l.unclear || v == kafkaerror.Unclear
		l.fail(o.Err)
		l.sender = nil
		return Resend, nil
	}
}

// setAside takes the refused head out. The events behind it, even if they have sequences, go through the sieve again, and their sequences
// close the gap. l.mu is held.
func (l *Lane) setAside() {
	head := l.numbered[0]
	l.full = slices.Insert(l.full, 0, l.numbered[1:]...) // costs nothing for the parts that are here already
	clear(l.numbered)
	l.numbered = l.numbered[:0]
	l.id.Next = head.seq // nothing of the head is in the log; where that is not certain, Next asks for a new producer id
	l.failures, l.err, l.failingSince = 0, nil, time.Time{}
}

// Next returns the step after SetAside.
func (l *Lane) Next() Step {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unclear { // as in Settle for a head that is divided: its sequence may be in the log
		return Renew
	}
	l.state = idle
	if l.queueIfIdle() {
		return SendNext
	}
	return Empty
}

// TakeBack passes everything that the lane has through the sieve again, also what has sequences. If some of that may reach the log, or has, what
// is sent next fences it. TakeBack returns SendNext if something is left to send, else Empty. Only the lane's driver calls it, instead of the
// step Resend or Renew, when the lane has a sieve.
func (l *Lane) TakeBack() Step {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.numbered) > 0 {
		l.id.Next = l.numbered[0].seq
	}
	if l.unclear {
		l.id = l.id.fenced()
	}
	batches := append(l.numbered, l.full...)
	if l.open != nil {
		batches = append(batches, l.open)
	}
	l.numbered, l.full, l.open = nil, nil, nil
	l.unclear, l.failures, l.err, l.failingSince = false, 0, nil, time.Time{}
	if len(batches) > 0 {
		l.state, l.sifting, l.siftedSince = sending, true, batches[0].since.UnixNano() // so that nobody else takes the lane
	}
	l.mu.Unlock()
	rest := batches[:0]
	for _, b := range batches {
		if b = l.sift(b); b != nil {
			rest = append(rest, b)
		}
	}
	l.mu.Lock()
	l.full = append(rest, l.full...)
	l.state, l.sifting = idle, false
	if l.queueIfIdle() {
		return SendNext
	}
	return Empty
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

// maxCut is how many records are cut out of a batch at once. Each part takes memory of its own, which nobody counts: small records that are
// all cut out at once would take many times their size.
const maxCut = 64

// divide replaces the head by parts. Each record that the broker named becomes a part of its own, and the records between two of them stay
// together. If the broker named more than maxCut records, the head becomes at most maxCut parts that remember which of their records were
// named. Take divides such a part when its turn comes. If the broker named none, the head is split into two halves.
//
// named is in order, see Batch.valid. The records keep their sequences, because nothing of the head is in the log. Where that is not certain,
// the caller renumbers. l.mu is held.
func (l *Lane) divide(named []int32) {
	head := l.numbered[0]
	var cuts []int
	step := (len(named) + maxCut - 1) / maxCut
	switch step {
	case 0:
		cuts = append(cuts, int(head.Count())/2)
	case 1:
		for _, i := range named {
			cuts = append(cuts, int(i), int(i)+1)
		}
	default:
		head.suspects = named
		for i := step; i < len(named); i += step {
			cuts = append(cuts, int(named[i]))
		}
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
