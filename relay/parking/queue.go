package parking

import (
	"slices"

	"walpost/schema"
)

// queue holds the letters that are to be parked, in order. It is not safe for concurrent use, but what pick has returned may be read meanwhile.
type queue struct {
	front  []*schema.DeadLetter // the first ones
	picked int                  // how many of them are in the transaction under way, or may be in the table since one that failed
	back   []segment            // behind front

	encoded, headers []byte // memory for push
}

// segment is some letters of a queue: either as they are, or packed.
type segment struct {
	letters []*schema.DeadLetter
	pack    *pack
}

// Limits of one transaction.
const (
	mostLetters = 1000
	mostBytes   = 1 << 20
)

func (q *queue) empty() bool { return len(q.front)+len(q.back) == 0 }

// push appends letters.
func (q *queue) push(letters ...*schema.DeadLetter) {
	switch {
	case len(letters) == 0:
		return
	case len(q.back) == 0:
		q.front = append(q.front, letters...)
		return
	}
	if last := &q.back[len(q.back)-1]; last.pack == nil {
		last.letters = append(last.letters, letters...)
		return
	}
	q.back = append(q.back, segment{letters: slices.Clone(letters)})
}

// pushPacked appends a letter that waits for its topic, and to which nobody else refers. As a rule it takes less memory then: saved are the bytes
// that it does not hold any more.
func (q *queue) pushPacked(l *schema.DeadLetter) (saved int) {
	if len(q.back) == 0 && len(q.front) < mostLetters || l.Held > packSize/2 { // it would be unpacked at once, or is large anyway
		q.push(l)
		return 0
	}
	saved = besidesRecord - besidesPacked
	l.Held -= saved
	if n := len(q.back); n > 0 && q.back[n-1].pack != nil && q.pack(q.back[n-1].pack, l) {
		return saved
	}
	next := &pack{buf: make([]byte, 0, packSize)}
	if !q.pack(next, l) { // it is larger than what it holds
		l.Held += saved
		q.push(l)
		return 0
	}
	q.back = append(q.back, segment{pack: next})
	return saved
}

// pack adds a letter to a pack. It returns false if there is no room.
func (q *queue) pack(to *pack, l *schema.DeadLetter) bool {
	q.encoded, q.headers = appendLetter(q.encoded[:0], q.headers, to.topicOf(l), l)
	return to.add(l, q.encoded)
}

// pick returns the letters of the next transaction. They stay in the queue until drop.
func (q *queue) pick() []*schema.DeadLetter {
	for len(q.back) > 0 && len(q.front) < mostLetters {
		q.front = append(q.front, q.back[0].unpacked()...)
		q.back[0] = segment{}
		if q.back = q.back[1:]; len(q.back) == 0 {
			q.back = nil
		}
	}
	bytes := 0
	for q.picked = 0; q.picked < min(len(q.front), mostLetters) && bytes < mostBytes; q.picked++ {
		bytes += q.front[q.picked].Held
	}
	return q.front[:q.picked:q.picked]
}

// fills reports whether there are as many letters as a transaction takes.
func (q *queue) fills() bool {
	n := len(q.front)
	for _, s := range q.back {
		if n += len(s.letters); s.pack != nil {
			n += s.pack.count
		}
		if n >= mostLetters {
			return true
		}
	}
	return n >= mostLetters
}

// drop takes the first n letters out of the queue.
func (q *queue) drop(n int) {
	clear(q.front[:n])
	q.picked, q.front = 0, q.front[n:]
	if len(q.front) == 0 {
		q.front = nil
	}
}

// unpacked returns the letters of a segment.
func (s segment) unpacked() []*schema.DeadLetter {
	if s.pack != nil {
		return s.pack.letters()
	}
	return s.letters
}

// unpack makes the letters of a topic available to take. It returns false, and does nothing, if they hold more than most bytes.
func (q *queue) unpack(topic string, most int) bool {
	held := 0
	for _, s := range q.back {
		if s.pack != nil && s.pack.has(topic) {
			held += s.pack.held
		}
	}
	if held > most {
		return false
	}
	for i, s := range q.back {
		if s.pack != nil && s.pack.has(topic) {
			q.back[i] = segment{letters: s.pack.letters()}
		}
	}
	return true
}

// take takes the letters out of the queue for which want is true, but for those that were picked, and those that are packed.
func (q *queue) take(want func(*schema.DeadLetter) bool) (taken []*schema.DeadLetter) {
	from := func(letters []*schema.DeadLetter) []*schema.DeadLetter {
		return slices.DeleteFunc(letters, func(l *schema.DeadLetter) bool {
			if !want(l) {
				return false
			}
			taken = append(taken, l)
			return true
		})
	}
	q.front = q.front[:q.picked+len(from(q.front[q.picked:]))]
	for i := range q.back {
		q.back[i].letters = from(q.back[i].letters)
	}
	q.back = slices.DeleteFunc(q.back, func(s segment) bool { return s.pack == nil && len(s.letters) == 0 })
	return taken
}

// each calls f for each letter that is not packed; picked says that it is in the transaction under way.
func (q *queue) each(f func(l *schema.DeadLetter, picked bool)) {
	for i, l := range q.front {
		f(l, i < q.picked)
	}
	for _, s := range q.back {
		for _, l := range s.letters {
			f(l, false)
		}
	}
}

// lowestTx returns the first transaction, in WAL order, that has a letter in the queue.
func (q *queue) lowestTx() (lowest uint64, found bool) {
	note := func(tx uint64) {
		if !found || tx < lowest {
			lowest, found = tx, true
		}
	}
	q.each(func(l *schema.DeadLetter, _ bool) { note(l.Tx) })
	for _, s := range q.back {
		if s.pack != nil {
			note(s.pack.lowest)
		}
	}
	return lowest, found
}
