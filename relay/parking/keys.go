package parking

import (
	"sync"
	"sync/atomic"

	"walpost/schema"
)

// keys knows which keys are parked, and which events have a dead letter already. Its methods may be called from any goroutine.
type keys struct {
	sifting atomic.Bool // something is parked, or has a dead letter and may be delivered again

	mu      sync.Mutex
	parked  map[name]*key
	settled map[schema.Position]struct{} // events that have a dead letter, and that Postgres may deliver again
}

// name names what is parked as one: the events of a topic that share a key.
type name struct{ topic, key string }

// key is a parked key.
type key struct {
	lowest    schema.Position // of its parked events
	pending   int             // its events that are to be parked, and are not committed yet
	releasing bool            // it is being given free: what is parked from now on is published, too
	returned  bool            // an event of its replay was refused again: what comes behind it comes back, too
	after     schema.Position // that event's position
}

func newKeys() *keys { return &keys{parked: map[name]*key{}} }

// found is what the table has of a key.
type found struct {
	lowest    schema.Position // of what is parked
	releasing bool            // some of it is given back
}

// of returns a parked key, nil if it is not parked. An event without a key has none. k.mu is held.
func (k *keys) of(topic string, key []byte) *key {
	if key == nil {
		return nil
	}
	return k.parked[name{topic, string(key)}]
}

// replace sets what the table has, at the beginning of a session. No event of the stream is pending then. What was refused in a replay that
// still goes on stays.
func (k *keys) replace(parked map[name]found, settled map[schema.Position]struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.parked
	k.parked, k.settled = make(map[name]*key, len(parked)), settled
	for n, f := range parked {
		k.parked[n] = &key{lowest: f.lowest, releasing: f.releasing}
		if old := before[n]; old != nil {
			k.parked[n].returned, k.parked[n].after = old.returned, old.after
		}
	}
	k.sift()
}

// sift notes whether anything has another verdict than Send. k.mu is held.
func (k *keys) sift() { k.sifting.Store(len(k.parked)+len(k.settled) > 0) }

// hold parks the letter's key from the letter's position on. A letter without a key holds nothing else.
func (k *keys) hold(l *schema.DeadLetter) (begins bool) {
	if l.Key == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.of(l.Topic, l.Key)
	if begins = one == nil; begins {
		one = &key{lowest: l.At}
		k.parked[name{l.Topic, string(l.Key)}] = one
	}
	if l.At.Compare(one.lowest) < 0 {
		one.lowest = l.At
	}
	if l.Head { // the others are counted by verdict
		one.pending++
	}
	k.sift()
	return begins
}

// verdict returns what happens to an event. Events of a parked key that are older than its lowest parked position pass: they were sent
// before, and are delivered again. An event with the verdict Park is pending from now on.
func (k *keys) verdict(topic string, key []byte, at schema.Position, replayed bool) schema.Verdict {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.of(topic, key)
	if replayed {
		if one != nil && one.returned && at.Compare(one.after) > 0 {
			return schema.Park
		}
		return schema.Send
	}
	if _, found := k.settled[at]; found {
		return schema.Settle
	}
	if one == nil || at.Compare(one.lowest) <= 0 {
		return schema.Send
	}
	one.pending++
	return schema.Park
}

// written notes that the dead letters are committed.
func (k *keys) written(letters []*schema.DeadLetter) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range letters {
		if one := k.of(l.Topic, l.Key); one != nil {
			one.pending--
		}
	}
}

// free lets a key flow again, of which the table has nothing that is parked. Its caller holds the lock without which nobody parks, since
// before it read the table. So an event that is not in the table is pending, and then free does nothing.
func (k *keys) free(n name) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.parked[n]
	if one == nil || one.pending > 0 {
		return false
	}
	delete(k.parked, n)
	k.sift()
	return true
}

// update changes a key, if it is parked.
func (k *keys) update(n name, change func(*key)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if one := k.parked[n]; one != nil {
		change(one)
	}
}

// names returns the keys of which want is true.
func (k *keys) names(want func(*key) bool) (list []name) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for n, one := range k.parked {
		if want(one) {
			list = append(list, n)
		}
	}
	return list
}

// isReleasing reports whether the letter's key is being given free.
func (k *keys) isReleasing(l *schema.DeadLetter) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.of(l.Topic, l.Key)
	return one != nil && one.releasing
}

// isSettled reports whether the event has a dead letter already.
func (k *keys) isSettled(at schema.Position) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, found := k.settled[at]
	return found
}

// forget drops what was settled, once Postgres cannot deliver it again. It asks for the confirmed position under the lock, so that a position
// of an older session meets only what that session had.
func (k *keys) forget(reached func() uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.settled) == 0 {
		return
	}
	confirmed := reached()
	for at := range k.settled {
		if at.LSN < confirmed { // the position of its transaction's commit
			delete(k.settled, at)
		}
	}
	k.sift()
}

// count returns how many keys are parked.
func (k *keys) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.parked)
}
