package replication

import "time"

// A surge is when small reads follow each other so fast that the server pays more for sending each message than for decoding it. Then
// it is cheaper for both sides to let the messages pile up: the socket's low-water mark is set high and the read gets a deadline. When
// the deadline passes, the mode ends, what is there is drained by normal reads, and if they come fast again, so does the mode.
//
// The first surge of a row needs many reads. A few sessions that commit at once are no backlog and must not wait, nor is what a walsender
// catches up with after it had to wait for a processor. The following ones need few, as long as reads stay fast. A server that drains a
// backlog also pauses for some milliseconds now and then: that does not end the row, or the next thousand reads would be small ones again.
//
// The constants were measured over loopback; others lose the gain. Above all the wait must end by its deadline and not by bytes, and
// the mode must be left each time: a reader that stays silent for the full wait keeps the server's congestion window small, so that
// its messages queue and leave in large pieces.
const (
	surgeFirst     = 1024                   // so many reads
	surgeFirstSpan = 128 * time.Millisecond // within so long begin the first surge
	surgeReads     = 24                     // so many reads
	surgeSpan      = 5 * time.Millisecond   // within so long begin the next of a row
	surgeFast      = 16 * time.Millisecond  // and so many within this are still fast
	surgeRowLasts  = 100 * time.Millisecond // a row ends when no reads were fast for so long
	surgeMark      = 1 << 20                // low-water mark during a surge
	surgeWait      = 12 * time.Millisecond  // no read waits longer during it
)

// surge counts reads. It is the reader's own.
type surge struct {
	on    bool
	row   bool      // one has ended, and the next of the row may come: reads have not become slow since
	fast  time.Time // when reads were last fast, in a row
	reads int
	since time.Time // when counting began
}

// read counts one read and reports whether it begins a surge.
func (s *surge) read() bool {
	if s.on {
		return false
	}
	reads, span := surgeFirst, surgeFirstSpan
	if s.row {
		reads, span = surgeReads, surgeSpan
	}
	if s.reads++; s.reads < reads {
		return false
	}
	now := time.Now()
	took, fast := now.Sub(s.since), s.fast
	if took < surgeFast {
		fast = now
	}
	*s = surge{on: took < span, row: s.row && now.Sub(fast) < surgeRowLasts, fast: fast, since: now}
	return s.on
}

// end ends the surge.
func (s *surge) end() {
	now := time.Now()
	*s = surge{row: true, fast: now, since: now}
}

// flowing tells that a surge is on, or that the next of a row may be about to begin: more will come within milliseconds.
func (s *surge) flowing() bool { return s.on || s.row && time.Since(s.since) < surgeSpan }
