package lane

import (
	"time"

	"walpost/sink/kafkaerror"
)

// Outcome is the outcome of a request with a lane's head.
type Outcome struct {
	Err   error // nil: the head is in the log
	Named int   // index of the record that the broker names as the cause; -1: none
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
		if head.Count() == 1 && l.sieve == nil {
			l.state = stopped
			return Reject, head
		}
		if head.Count() == 1 {
			l.setAside()
			return SetAside, head
		}
		l.divide(o.Named)
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
			l.divide(-1)
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
	l.full = append(append([]*Batch(nil), l.numbered[1:]...), l.full...)
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

// divide replaces the head by parts. If the broker named a record, that record becomes a part of its own. Otherwise the head is split into
// two halves. The records keep their sequences, because nothing of the head is in the log. Where that is not certain, the caller renumbers.
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
