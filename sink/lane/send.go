package lane

import (
	"time"

	"walpost/sink/kafkaerror"
	"walpost/sink/recordbatch"
)

// Sender sends the batches of the lanes that one broker leads. Lanes compare senders by identity.
type Sender interface {
	Addr() string // the broker's address, for messages
}

// Take returns the lane's head for a request of s, sealed by e. It returns nil if s has nothing to send for the lane: another sender has
// the lane now, or the publishing goroutine has the only batch. cluster is the cluster of the broker that the request goes to. An error is
// to be passed to Settle. It comes from e, or says that another cluster gave the lane's producer id.
func (l *Lane) Take(s Sender, e *recordbatch.Encoder, cluster string) (*Batch, error) {
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
	for len(l.numbered) == 0 {
		b := l.oldest()
		if b == nil {
			// The publishing goroutine has taken the open batch back to add events, and will queue the lane when it is done.
			l.state = idle
			l.mu.Unlock()
			return nil, nil
		}
		if l.sieve != nil && !l.sieve.Open() {
			l.state, l.sifting, l.siftedSince = sending, true, b.since.UnixNano() // so that nobody else takes the lane
			l.mu.Unlock()
			b = l.sift(b)
			l.mu.Lock()
			if l.state, l.sifting = queued, false; b == nil {
				continue
			}
		}
		b.seq, l.sealedLen = l.id.advance(b.Count()), b.Len()
		if b.Wire() != nil { // it was taken back, and all of it passed the sieve
			b.records.Restamp(recordbatch.Stamp{ProducerID: l.id.Producer, Epoch: l.id.Epoch, Sequence: b.seq})
		}
		l.numbered = append(l.numbered, b)
	}
	for b := l.numbered[0]; len(b.suspects) > 0 && b.Count() > 1; b = l.numbered[0] {
		l.divide(b.suspects)
	}
	l.state = sending
	head, stamp := l.numbered[0], recordbatch.Stamp{ProducerID: l.id.Producer, Epoch: l.id.Epoch, Sequence: l.numbered[0].seq}
	other := l.id.Cluster != cluster
	l.mu.Unlock()
	if other {
		return head, kafkaerror.ErrOtherCluster
	}
	// The head belongs to the sender while the lane is sending, so compressing needs no lock.
	if head.Wire() == nil {
		err := head.records.Seal(e, stamp)
		head.recount()
		return head, err
	}
	return head, nil
}

// oldest removes and returns the first batch that has no sequences yet, nil if there is none. l.mu is held.
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

// Sender returns the sender of the partition's leader, or nil if the leader must be found. full reports whether a full batch waits.
func (l *Lane) Sender() (on Sender, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sender, len(l.full) > 0
}

// SetSender sets the sender of the partition's leader.
func (l *Lane) SetSender(s Sender) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sender, l.lost = s, nil
}

// Lost notes why the leader of the lane's partition cannot be found. [Lane.Waiting] returns it until there is a sender.
func (l *Lane) Lost(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = err
}

// Failing returns how many attempts have failed since the last success, and since when.
func (l *Lane) Failing() (attempts int, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.failures), l.failingSince
}

// Renumber gives the lane a new identity, and new sequences to the batches that already had some. Events that may already be in the log are
// then sent a second time.
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
