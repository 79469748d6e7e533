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
	ended   bool       // no session has the slot: what the sink still holds is delivered again
	parked  map[name]*key
	topics  map[string]*topic // that take no records
	settled settled
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
	absorbed  bool            // its events wait for the topic: what comes from now on has the verdict Wait
}

// lastStep is the end of a release. Nothing of the key goes to the table any more. When the table has nothing of it that is parked, what came
// meanwhile is sent, and the key flows. Without this step, a key that gets events all the time would go through the table for ever.
type lastStep struct {
	kept  []*schema.DeadLetter // what came meanwhile, in order
	above schema.Position      // nothing that is not above this position is kept
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
	return &keys{parked: map[name]*key{}, topics: map[string]*topic{}, refused: map[schema.Position]bool{}}
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
func (k *keys) replace(t *table) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.parked
	k.repeats, k.settled = t.repeats, t.settled
	k.topics = make(map[string]*topic, len(t.topics))
	for _, w := range t.topics {
		k.topics[w.Topic] = &topic{Waiting: w}
	}
	k.parked = make(map[name]*key, len(t.parked))
	for n, lowest := range t.parked {
		k.parked[n] = &key{lowest: lowest}
		if old := before[n]; old != nil {
			k.parked[n].returned, k.parked[n].after = old.returned, old.after
		}
	}
	k.sift()
}

// sift notes whether anything has another verdict than Send. k.mu is held.
func (k *keys) sift() { k.sifting.Store(k.ended || len(k.parked)+len(k.settled)+len(k.topics) > 0) }

// hold parks the letter's key from the letter's position on; tell reports whether it was not parked before, or not for this reason. A letter
// without a key, or one that waits for its topic, holds nothing else. The letter goes to the table, after those in back, unless it is kept.
func (k *keys) hold(l *schema.DeadLetter) (tell, kept bool, back []*schema.DeadLetter) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.Blocked {
		if t := k.topics[l.Topic]; t != nil {
			var over bool
			if kept, back, over = t.last.hold(l); over {
				t.last = nil
			}
		}
		return false, kept, back
	}
	if l.Key == nil {
		return false, false, nil
	}
	one := k.of(l.Topic, l.Key)
	if one == nil {
		one, tell = &key{lowest: l.At}, true
		k.parked[nameOf(l)] = one
	}
	one.lowest = lower(one.lowest, l.At)
	if l.Head { // the others are counted by verdict
		one.pending++
		one.refusedAt(l.At)
		tell = tell || one.told != l.Code
		one.told = l.Code
	}
	k.sift()
	if l.Head {
		return tell, false, one.endLast()
	}
	kept, back, over := one.last.hold(l)
	if over {
		one.last = nil
	}
	return tell, kept, back
}

// hold keeps a letter, if there is this step. Without room for it, or if it is older than what the table has, the step is over, and what it has
// kept is returned.
func (s *lastStep) hold(l *schema.DeadLetter) (kept bool, back []*schema.DeadLetter, over bool) {
	if s == nil {
		return false, nil, false
	}
	if s.bytes > mostKept || l.At.Compare(s.above) <= 0 {
		return false, s.kept, true
	}
	s.kept = append(s.kept, l)
	s.bytes += l.Held
	return true, nil, false
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
	kept := k.endLast(k.names(func(name, *key) bool { return true }))
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range k.topics {
		kept = append(kept, t.endLast()...)
	}
	return kept
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
// before, and are delivered again. An event with the verdict Park or Wait is pending from now on. When the session has ended, nothing is sent any
// more: what the session has not confirmed is delivered again.
func (k *keys) verdict(topic string, key []byte, at schema.Position, replayed bool) schema.Verdict {
	k.mu.Lock()
	defer k.mu.Unlock()
	one, whole := k.of(topic, key), k.topics[topic]
	if whole != nil && one != nil && one.absorbed && !replayed {
		one = nil
	}
	if replayed {
		if k.ended || whole != nil && !whole.draining || one != nil && one.returned && at.Compare(one.after) > 0 {
			return schema.Park // it comes back
		}
		return schema.Send
	}
	if k.ended {
		return schema.Settle
	}
	passes := one == nil || at.Compare(one.lowest) <= 0
	var repeat *repeat
	if key != nil && len(k.repeats) > 0 {
		repeat = k.repeats[name{topic, string(key)}]
	}
	if found, released := k.settled.find(at); found {
		if released && repeat != nil && repeat.again && passes {
			return whole.verdict()
		}
		return schema.Settle
	}
	if passes {
		if repeat != nil && at.Compare(repeat.highest) < 0 {
			repeat.again = true
		}
		return whole.verdict()
	}
	one.pending++
	return schema.Park
}

// written notes that the dead letters are committed. It returns the bytes of those that wait for a person.
func (k *keys) written(letters []*schema.DeadLetter) (bytes int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range letters {
		if l.Blocked {
			if t := k.topics[l.Topic]; t != nil {
				t.pending--
				t.add(1, l.Size())
			}
			continue
		}
		bytes += l.Size()
		if one := k.of(l.Topic, l.Key); one != nil {
			one.pending--
		}
	}
	return bytes
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

// isReturned reports whether an event waits behind one of its key that was refused.
func (k *keys) isReturned(n name, at schema.Position) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.parked[n]
	return one != nil && one.returned && at.Compare(one.after) > 0
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

// mayRepeat reports whether Postgres may deliver events again that have a dead letter.
func (k *keys) mayRepeat() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.settled) > 0
}

// isSettled reports whether the event has a dead letter already.
func (k *keys) isSettled(at schema.Position) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, _ := k.settled.find(at)
	return found
}

// refuse notes that an event of the stream was refused. It reports whether it was not refused before.
func (k *keys) refuse(at schema.Position) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if settled, _ := k.settled.find(at); settled || k.refused[at] {
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
	k.settled.forget(confirmed)
	maps.DeleteFunc(k.refused, func(at schema.Position, _ bool) bool { return at.LSN < confirmed })
	if len(k.settled) == 0 {
		k.repeats = nil
	}
	k.sift()
}

// any reports whether keys or topics are parked.
func (k *keys) any() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.parked)+len(k.topics) > 0
}

// count returns how many keys wait for a person.
func (k *keys) count() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, one := range k.parked {
		if !one.absorbed {
			n++
		}
	}
	return n
}
