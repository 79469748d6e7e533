package lane

import (
	"time"

	"walpost/sink/kafkaerror"
)

// Outcome is what became of a request with a lane's head.
type Outcome struct {
	Err   error // nil: the head is in the log
	Named int   // index of the record that the broker blames, -1: none
}

// Class returns what the outcome means for the head.
func (o Outcome) Class() kafkaerror.Class {
	if o.Err == nil {
		return kafkaerror.Done
	}
	return kafkaerror.Classify(o.Err)
}

// Step is what the lane's driver has to do after an outcome.
type Step uint8

// The steps.
const (
	Empty    Step = iota // nothing is left to send: the lane has no driver any more
	SendNext             // route the lane: the next batch is to be sent
	Resend               // pause, find out who leads the partition, and route the lane: the head is to be sent again
	Renew                // take a new producer id and call Renumber first, then as with Resend
	Reject               // report the event: it is the head, alone, and was refused for good. The lane has no driver any more
)

// Settle moves the lane on after a request with its head has ended. It returns the head once that is acked, for the caller to report and to
// put back into the pool, or rejected, for the caller to report.
func (l *Lane) Settle(o Outcome) (Step, *Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := o.Class()
	if v == kafkaerror.Repeated {
		// The broker has the sequence of something that this lane has not sent, unless an earlier attempt got there.
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

	case kafkaerror.Cut:
		l.fail(o.Err)
		if head.Count() > 1 {
			l.divide(-1)
			return Renew, nil // nobody has said what became of the head; what Refused says of that holds
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

// divide replaces the head by its parts: the record that the broker named alone, or two halves. Its records keep their sequences, for
// nothing of the head is in the log. Where that is not certain the caller renumbers.
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
