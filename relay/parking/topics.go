package parking

import (
	"cmp"
	"errors"
	"strings"
	"time"

	"walpost/internal/reason"
	"walpost/schema"
)

// topic is a topic that takes no records. Its events wait in the table, except those of parked keys, which wait for a person.
type topic struct {
	Waiting
	why      string    // Code and Detail as one text; "": not made yet
	pending  int       // its events that have the verdict Wait, and are not committed yet
	draining bool      // what waits is being published
	tried    time.Time // when that was last begun
	tries    int       // how often that was begun since the topic has taken a record
	empty    bool      // when the table was last looked at, it had nothing of it, and nothing was on its way
	last     *lastStep // nil: what comes goes to the table
}

// Waiting is what waits for a topic that takes no records.
type Waiting struct {
	Topic  string
	Code   reason.Code // why the topic takes no records
	Detail string      // the same in words; "": not known
	Cure   string      // what a person can do; "": not known
	Since  time.Time   // when it began
	Events int64       // in the table
	Bytes  int64       // of their keys, values and headers

	alarmed time.Time // when the log last had an error of it
}

// block makes all events of a topic wait, from now on. It reports whether they did not before.
func (k *keys) block(w Waiting) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.topics[w.Topic]
	if t != nil {
		t.Code, t.Detail, t.Cure, t.why, t.draining = w.Code, w.Detail, w.Cure, "", false
		return false
	}
	k.topics[w.Topic] = &topic{Waiting: w}
	k.sift()
	return true
}

// why returns why a topic takes no records, as the detail of its rows. [Cause] reads it.
func (k *keys) why(name string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.topics[name]
	if t == nil || t.Code == reason.TopicBlocked {
		return ""
	}
	if t.why == "" {
		t.why = string(t.Code) + ": " + t.Detail
	}
	return t.why
}

// Cause returns the code and the text that are in the detail of a row that waits for its topic.
func Cause(detail string) (code reason.Code, text string) {
	word, text, found := strings.Cut(detail, ": ")
	if !found || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") != "" { // somebody has edited it
		return reason.TopicBlocked, detail
	}
	return reason.Code(word), text
}

// whyBlocked returns why a topic takes no records, as an error with a reason code; nil: its events do not wait.
func (k *keys) whyBlocked(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.topics[name]
	if t == nil {
		return nil
	}
	return reason.With(t.Code, errors.New(cmp.Or(t.Detail, string(t.Code))))
}

// blocked reports whether a topic's events wait.
func (k *keys) blocked(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.topics[name] != nil
}

// stalled notes that an attempt to send has failed; named says that the error is a condition of the topic. It reports whether events that
// wait for another attempt go through the sieve again.
func (k *keys) stalled(name string, named bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		return true
	}
	t := k.topics[name]
	if t == nil || !named {
		return false
	}
	t.draining = false
	return true
}

// end begins or ends the time in which no session has the slot.
func (k *keys) end(ended bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = ended
	k.sift()
}

// drain notes that what waits for a topic is published from now on, or not any more. It reports whether the topic's events still wait.
func (k *keys) drain(name string, on bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.topics[name]
	if t != nil {
		if t.draining = on; on {
			t.tried = time.Now()
			t.tries++
		}
	}
	return t != nil
}

// due returns the topics that may be tried again.
func (k *keys) due() (names []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for n, t := range k.topics {
		if time.Since(t.tried) >= t.pause() {
			names = append(names, n)
		}
	}
	return names
}

// A topic that refuses its records is tried every 30 s. Others are tried at once, and then at growing intervals.
const (
	probeRefused = 30 * time.Second
	probeBlocked = 10 * time.Second // the longest one
)

// pause returns how long after the last attempt a topic is tried again.
func (t *topic) pause() time.Duration {
	switch {
	case t.refuses():
		return probeRefused
	case t.tries == 0:
		return 0
	}
	return min(lookEvery<<min(t.tries-1, 10), probeBlocked)
}

// refuses reports whether the topic is there and refuses its records.
func (w *Waiting) refuses() bool {
	switch w.Code {
	case reason.MessageTooLarge, reason.InvalidRecord, reason.InvalidTimestamp, reason.Refused:
		return true
	}
	return false
}

// refuses reports whether a topic refuses its records.
func (k *keys) refuses(topic string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.topics[topic]
	return t != nil && t.Waiting.refuses()
}

// absorb makes keys of a topic that takes no records wait for the topic.
func (k *keys) absorb(topic string, keys [][]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range keys {
		if one := k.of(topic, key); one != nil && k.topics[topic] != nil {
			one.absorbed = true
		}
	}
}

// absorbed returns the keys that wait for a topic from now on, and of which nothing is on its way to the table.
func (k *keys) absorbed(topic string) []name {
	return k.names(func(n name, one *key) bool { return n.topic == topic && one.absorbed && one.pending == 0 })
}

// forgetKeys notes that keys wait for their topic, also in the table.
func (k *keys) forgetKeys(names []name) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range names {
		if one := k.parked[n]; one != nil && one.absorbed && one.pending == 0 { // else a head has come
			delete(k.parked, n)
		}
	}
	k.sift()
}

// stillDraining reports whether what waits for a topic is being published, and no attempt has failed.
func (k *keys) stillDraining(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.topics[name]
	return t != nil && t.draining
}

// waiting returns the topics whose events wait.
func (k *keys) waiting() (all []Waiting) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range k.topics {
		all = append(all, t.state())
	}
	return all
}

// state returns what waits for the topic.
func (t *topic) state() Waiting {
	w := t.Waiting
	w.Events, w.Bytes = max(w.Events, 0), max(w.Bytes, 0)
	return w
}

// add changes what waits for the topic in the table. Until the first count of a session, Events and Bytes are only by how much that has changed
// since the session began.
func (t *topic) add(events, bytes int64) {
	t.Events += events
	t.Bytes += bytes
}

// alarmed notes that the log has an error of a topic now, and returns what waits for it.
func (k *keys) alarmed(name string, now time.Time) (w Waiting, found bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.topics[name]
	if t == nil {
		return w, false
	}
	t.alarmed = now
	return t.state(), true
}

// find notes of which topics the table has events that wait. A topic that is not known to take no records waits from now on if begins says so.
// find returns the topics that do not wait any more: twice in a row, the table had nothing of them, because it was discarded.
func (k *keys) find(topics []Waiting, begins func(topic string) bool) (over []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	there := map[string]bool{}
	for _, w := range topics {
		there[w.Topic] = true
		if t := k.topics[w.Topic]; t != nil {
			t.empty = false
		} else if begins(w.Topic) {
			k.topics[w.Topic] = &topic{Waiting: w}
		}
	}
	for name, t := range k.topics {
		switch {
		case there[name]:
		case t.pending > 0 || t.draining || t.last != nil || !t.empty:
			t.empty = t.pending == 0
		default:
			delete(k.topics, name)
			over = append(over, name)
		}
	}
	k.sift()
	return over
}

// drained notes what became of a round of a topic: how many events and bytes do not wait for it any more, and which keys are parked from now on
// because one of their events was refused. published says that the topic has taken a record.
func (k *keys) drained(topic string, events, bytes int64, published bool, heads []name) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := k.topics[topic]; t != nil {
		t.add(-events, -bytes)
		if published {
			t.tries = 0
		}
	}
	for _, n := range heads {
		if one := k.parked[n]; one != nil {
			one.pending--
			one.returned = false
		}
	}
}

// refusedInDrain parks the key of an event that was refused when what waits for its topic was published. It is pending until its row says so.
func (k *keys) refusedInDrain(n name, at schema.Position) {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.parked[n]
	if one == nil {
		one = &key{lowest: at}
		k.parked[n] = one
	}
	one.pending++
	one.lowest = lower(one.lowest, at)
	one.refusedAt(at)
	k.sift()
}

// unrefused takes back what refusedInDrain has noted of a key: its events wait for the topic again, also those that were parked since.
func (k *keys) unrefused(n name) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if one := k.parked[n]; one != nil {
		one.pending--
		one.returned, one.absorbed = false, true
	}
}

// isAbsorbed reports whether a parked key waits for its topic from now on.
func (k *keys) isAbsorbed(n name) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.parked[n] != nil && k.parked[n].absorbed
}

// isBehind reports whether an event waits behind a parked event of its key.
func (k *keys) isBehind(n name, at schema.Position, keyed bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.parked[n]
	return keyed && one != nil && at.Compare(one.lowest) > 0
}

// keepTopic begins a topic's last step, with what is not written yet. All of it, and all that is kept later, is above the highest position that
// the table has. The lock of the parker is held.
func (k *keys) keepTopic(name string, letters []*schema.DeadLetter, above schema.Position) (step *lastStep) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.topics[name]
	if t == nil || t.last != nil {
		return nil
	}
	t.last = &lastStep{kept: letters, since: time.Now(), above: above}
	for _, l := range letters {
		t.last.bytes += l.Held
	}
	return t.last
}

// complete reports whether everything of a topic that has the verdict Wait is in the table, or kept by this last step.
func (k *keys) complete(name string, step *lastStep) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.topics[name]
	return t != nil && t.last == step && t.pending == len(step.kept)
}

// keptOf returns what a topic's last step has kept so far; false if the step is over.
func (k *keys) keptOf(name string, step *lastStep) ([]*schema.DeadLetter, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.topics[name]
	if t == nil || t.last != step {
		return nil, false
	}
	return step.kept, true
}

// flowTopic lets a topic flow whose last step has kept n events: from now on its events have the verdict Send, but for those of parked keys.
// It does nothing, and returns false, if that is not so any more, if another event has the verdict Wait and has not arrived yet, or if the rows
// of a key are still to be made to wait for the topic.
func (k *keys) flowTopic(name string, step *lastStep, n int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.topics[name]
	if t == nil || t.last != step || len(step.kept) != n || t.pending != n {
		return false
	}
	for other, one := range k.parked {
		if other.topic == name && one.absorbed {
			return false
		}
	}
	delete(k.topics, name)
	k.sift()
	return true
}

// flowToTopic ends the wait of a key as flow does, if its topic takes no records: what was kept waits for the topic.
func (k *keys) flowToTopic(n name, step *lastStep) (kept []*schema.DeadLetter, flows bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	one, t := k.parked[n], k.topics[n.topic]
	if t == nil || one == nil || one.last != step || one.pending != len(step.kept) {
		return nil, false
	}
	delete(k.parked, n)
	for _, l := range step.kept {
		l.Blocked, l.Code = true, reason.TopicBlocked
	}
	t.pending += len(step.kept)
	return step.kept, true
}

// endLastOf ends a topic's last step, and returns what was kept.
func (k *keys) endLastOf(name string) []*schema.DeadLetter {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.topics[name].endLast()
}

// verdict returns what happens to an event of a topic that is to be sent: it waits, unless t is nil. It is pending then.
func (t *topic) verdict() schema.Verdict {
	if t == nil {
		return schema.Send
	}
	t.pending++
	t.empty = false
	return schema.Wait
}

// endLast ends a last step, and returns what was kept.
func (t *topic) endLast() (kept []*schema.DeadLetter) {
	if t != nil && t.last != nil {
		kept, t.last = t.last.kept, nil
	}
	return kept
}

// lower returns the lower one of two positions.
func lower(a, b schema.Position) schema.Position {
	if b.Compare(a) < 0 {
		return b
	}
	return a
}
