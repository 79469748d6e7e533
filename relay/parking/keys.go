package parking

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"walpost/internal/reason"
	"walpost/schema"
)

// keys knows which keys are parked, and which events have a dead letter already. Its methods may be called from any goroutine, also with
// locks of the sink and of the parker held.
type keys struct {
	sifting atomic.Bool // something is parked, or has a dead letter and may be delivered again

	mu      sync.Mutex // innermost
	parked  map[name]*key
	settled map[schema.Position]*repeat // events that have a dead letter, and that Postgres may deliver again; nil: it was not released
	repeats map[name]*repeat
	refused map[schema.Position]bool // events that were refused, and have no dead letter yet
}

// repeat is a key with released events that Postgres may deliver again. As a rule, they are not sent again. But if an earlier event of the key
// is, they have to follow: otherwise the key's last record in Kafka would be an older event.
type repeat struct {
	highest schema.Position // of the released events
	again   bool            // an earlier event was sent again
}

// name names what is parked as one: the events of a topic that share a key.
type name struct{ topic, key string }

// key is a parked key.
type key struct {
	lowest    schema.Position // of its parked events
	pending   int             // its events that are to be parked, and are not committed yet
	releasing bool            // it is given back: what is parked from now on is published, too
	told      reason.Code     // of the head that the log names
	returned  bool            // an event was refused: what is behind it in the key's replay comes back
	after     schema.Position // that event's position
	last      *lastStep       // nil: what is to be parked goes to the table
}

// lastStep is the end of a release. Nothing of the key goes to the table any more. When the table has nothing of it that is parked, what came
// meanwhile is sent, and the key flows. Without this step, a key that gets events all the time would go through the table for ever.
type lastStep struct {
	kept  []*schema.DeadLetter // what came meanwhile, in order
	bytes int
	since time.Time
}

// Limits of a last step. Beyond them the key's events go to the table again, and it is tried again later: what is kept counts for the budget
// of all events.
const (
	longestLast = 2 * time.Second
	mostKept    = 4 << 20
)

func newKeys() *keys {
	return &keys{parked: map[name]*key{}, refused: map[schema.Position]bool{}}
}

// nameOf returns the name of a letter that has a key.
func nameOf(l *schema.DeadLetter) name { return name{l.Topic, string(l.Key)} }

// of returns a parked key, nil if it is not parked. An event without a key has none. k.mu is held.
func (k *keys) of(topic string, key []byte) *key {
	if key == nil {
		return nil
	}
	return k.parked[name{topic, string(key)}]
}

// replace sets what the table has: the keys with the lowest position of each. That is at the beginning of a session. No event of the stream
// is pending then. What was refused in a replay that still goes on stays.
func (k *keys) replace(parked map[name]schema.Position, settled map[schema.Position]*repeat, repeats map[name]*repeat) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.parked
	k.repeats = repeats
	k.parked, k.settled = make(map[name]*key, len(parked)), settled
	for n, lowest := range parked {
		k.parked[n] = &key{lowest: lowest}
		if old := before[n]; old != nil {
			k.parked[n].returned, k.parked[n].after = old.returned, old.after
		}
	}
	k.sift()
}

// sift notes whether anything has another verdict than Send. k.mu is held.
func (k *keys) sift() { k.sifting.Store(len(k.parked)+len(k.settled) > 0) }

// hold parks the letter's key from the letter's position on; tell reports whether it was not parked before, or not for this reason. A letter
// without a key holds nothing else. The letter goes to the table, after those in back, unless it is kept.
func (k *keys) hold(l *schema.DeadLetter) (tell, kept bool, back []*schema.DeadLetter) {
	if l.Key == nil {
		return false, false, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.of(l.Topic, l.Key)
	if one == nil {
		one, tell = &key{lowest: l.At}, true
		k.parked[nameOf(l)] = one
	}
	if l.At.Compare(one.lowest) < 0 {
		one.lowest = l.At
	}
	if l.Head { // the others are counted by verdict
		one.pending++
		one.refusedAt(l.At)
		tell = tell || one.told != l.Code
		one.told = l.Code
	}
	k.sift()
	if one.last == nil {
		return tell, false, nil
	}
	if l.Head || one.last.bytes > mostKept {
		return tell, false, one.endLast()
	}
	one.last.kept = append(one.last.kept, l)
	one.last.bytes += l.Held
	return tell, true, nil
}

// refusedAt notes that an event of the key was refused: of its replay, what is behind that event and was not sent yet comes back.
func (one *key) refusedAt(at schema.Position) {
	if !one.returned || at.Compare(one.after) < 0 {
		one.returned, one.after = true, at
	}
}

// add parks a key that the table has and that nobody knew, from a position on. Somebody has edited its rows.
func (k *keys) add(n name, lowest schema.Position) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.parked[n] == nil {
		k.parked[n] = &key{lowest: lowest}
		k.sift()
	}
}

// endLast ends a last step, and returns what was kept. k.mu is held.
func (one *key) endLast() (kept []*schema.DeadLetter) {
	if one.last != nil {
		kept, one.last = one.last.kept, nil
	}
	return kept
}

// mayKeep reports whether a key's last step may begin.
func (k *keys) mayKeep(n name) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.parked[n]
	return one != nil && one.last == nil
}

// keep begins a key's last step, with what is not written yet. mayKeep has reported true, and the lock of the parker is held since then.
func (k *keys) keep(n name, letters []*schema.DeadLetter) {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.parked[n]
	one.last = &lastStep{kept: letters, since: time.Now()}
	for _, l := range letters {
		one.last.bytes += l.Held
	}
}

// endLast ends the last steps of keys, and returns what was kept.
func (k *keys) endLast(names []name) (kept []*schema.DeadLetter) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range names {
		if one := k.parked[n]; one != nil {
			kept = append(kept, one.endLast()...)
		}
	}
	return kept
}

// endAll ends all last steps, and returns what was kept.
func (k *keys) endAll() []*schema.DeadLetter {
	return k.endLast(k.names(func(name, *key) bool { return true }))
}

// last returns the last step of a key, nil if it is not in one, and what is kept so far.
func (k *keys) last(n name) (step *lastStep, kept []*schema.DeadLetter) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if one := k.parked[n]; one != nil && one.last != nil {
		return one.last, one.last.kept
	}
	return nil, nil
}

// flow lets a key flow whose last step has come to its end, and returns what was kept: from now on, its events have the verdict Send. It does
// nothing, and returns false, if the key is not in this step any more, if what was kept does not fit, or if another event of the key has the
// verdict Park and has not arrived yet.
func (k *keys) flow(n name, step *lastStep, fit func([]*schema.DeadLetter) bool) (kept []*schema.DeadLetter, flows bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.parked[n]
	if one == nil || step == nil || one.last != step || one.pending != len(step.kept) {
		return nil, false
	}
	if !fit(step.kept) {
		return nil, false
	}
	delete(k.parked, n)
	k.sift()
	return step.kept, true
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
	passes := one == nil || at.Compare(one.lowest) <= 0
	if repeat, found := k.settled[at]; found {
		if repeat != nil && repeat.again && passes {
			return schema.Send
		}
		return schema.Settle
	}
	if passes {
		if key != nil && len(k.repeats) > 0 {
			if repeat := k.repeats[name{topic, string(key)}]; repeat != nil && at.Compare(repeat.highest) < 0 {
				repeat.again = true
			}
		}
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

// update changes a key, if it is parked.
func (k *keys) update(n name, change func(*key)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if one := k.parked[n]; one != nil {
		change(one)
	}
}

// names returns the keys of which want is true.
func (k *keys) names(want func(name, *key) bool) (list []name) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for n, one := range k.parked {
		if want(n, one) {
			list = append(list, n)
		}
	}
	return list
}

// unknown returns those of the names that are not parked.
func (k *keys) unknown(names map[name]schema.Position) (list []name) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for n := range names {
		if k.parked[n] == nil {
			list = append(list, n)
		}
	}
	return list
}

// isReleasing reports whether the letter's key is given back. A letter that was refused ends that, and what comes behind it waits: nobody has
// given that letter back.
func (k *keys) isReleasing(l *schema.DeadLetter) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.of(l.Topic, l.Key)
	if one == nil {
		return false
	}
	one.releasing = one.releasing && !l.Head
	return one.releasing
}

// isSettled reports whether the event has a dead letter already.
func (k *keys) isSettled(at schema.Position) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, found := k.settled[at]
	return found
}

// refuse notes that an event of the stream was refused. It reports whether it was not refused before.
func (k *keys) refuse(at schema.Position) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, settled := k.settled[at]
	if settled || k.refused[at] {
		return false
	}
	k.refused[at] = true
	return true
}

// forgetRefused drops what refuse has noted of letters that are committed. If they are delivered again, they are settled.
func (k *keys) forgetRefused(letters []*schema.DeadLetter) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range letters {
		delete(k.refused, l.At)
	}
}

// forget drops what was settled or refused, once Postgres cannot deliver it again. It asks for the confirmed position under the lock, so that a
// position of an older session meets only what that session had.
func (k *keys) forget(reached func() uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.settled)+len(k.refused) == 0 {
		return
	}
	confirmed := reached()
	for at := range k.settled {
		if at.LSN < confirmed { // the position of its transaction's commit
			delete(k.settled, at)
		}
	}
	maps.DeleteFunc(k.refused, func(at schema.Position, _ bool) bool { return at.LSN < confirmed })
	if len(k.settled) == 0 {
		k.repeats = nil
	}
	k.sift()
}

// count returns how many keys are parked.
func (k *keys) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.parked)
}
