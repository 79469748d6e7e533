package lane

import (
	"walpost/schema"
	"walpost/sink/recordbatch"
)

// Sieve decides which events of a lane are not sent. It is asked before an event gets a sequence, so the sequences of the others have no
// gap. Its methods are called by the lane's driver, without the lane's lock.
type Sieve interface {
	// Parks reports whether an event that is refused is parked. Otherwise the lane stops behind it.
	Parks() bool
	// Open reports whether every event is to be sent. Then nothing else is asked, and the events are not looked at.
	Open() bool
	// Verdict returns what happens to an event.
	Verdict(key []byte, from Origin) schema.Verdict
	// Aside takes the events that are not sent, with their verdicts. It owns b.
	Aside(b *Batch, verdicts []schema.Verdict)
}

// sift gives the events of b that are not to be sent to the sieve, and returns a batch with the others, nil if there are none.
func (l *Lane) sift(b *Batch) *Batch {
	verdicts := make([]schema.Verdict, 0, b.Count())
	sent := 0
	b.Each(func(_ int, r recordbatch.Raw, from Origin) {
		v := l.sieve.Verdict(r.Key(), from)
		if v == schema.Send {
			sent++
		}
		verdicts = append(verdicts, v)
	})
	if sent == len(verdicts) {
		return b
	}
	if sent == 0 {
		l.sieve.Aside(b, verdicts)
		return nil
	}
	send, aside := l.pool.Get(), l.pool.Get()
	send.since, aside.since = b.since, b.since
	var others []schema.Verdict
	b.Each(func(i int, r recordbatch.Raw, from Origin) {
		to := send
		if v := verdicts[i]; v != schema.Send {
			to = aside
			others = append(others, v)
		}
		to.appendOf(b, i, r, from)
	})
	// As in divide, the parts together hold the same bytes as the whole.
	aside.held = min(aside.held, b.held)
	send.held = b.held - aside.held
	l.pool.Put(b)
	l.sieve.Aside(aside, others)
	return send
}
