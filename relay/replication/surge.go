package replication

import "time"

// In a surge, small reads follow each other so fast that the server spends more on sending each message than on decoding it. Then it is
// cheaper for both sides to let messages accumulate: the socket gets a high low-water mark, and the read a deadline. When the deadline
// passes, the surge ends, and normal reads take what has arrived. If these reads are fast again, the next surge begins.
//
// Surges come in rows. The first surge of a row begins only after many fast reads. A few sessions that commit at the same time are no
// backlog, and their events must not wait. Nor is it a backlog when a walsender catches up after it had to wait for a processor. The
// following surges of the row begin after few reads, as long as reads stay fast. A server that drains a backlog sometimes pauses for some
// milliseconds. Such a pause does not end the row: otherwise the next thousand reads would be small again.
//
// The constants were measured over loopback, and other values lose the gain. Two things matter most. The wait must end at the deadline, and
// not at a number of bytes. And each surge must end after one wait: a reader that is silent for the full wait keeps the server's congestion
// window small, so that messages queue there and are sent in large pieces.
const (
	surgeFirst     = 1024                   // the first surge of a row begins after so many reads
	surgeFirstSpan = 128 * time.Millisecond // within so long
	surgeReads     = 24                     // the next one begins after so many reads
	surgeSpan      = 5 * time.Millisecond   // within so long
	surgeFast      = 16 * time.Millisecond  // surgeReads reads within this time still count as fast
	surgeRowLasts  = 100 * time.Millisecond // a row ends when reads have not been fast for so long
	surgeMark      = 1 << 20                // low-water mark during a surge
	surgeWait      = 12 * time.Millisecond  // longest wait of a read during a surge
)

// surge counts reads to detect surges. It belongs to the reader.
type surge struct {
	on    bool
	row   bool      // a surge has ended and reads have stayed fast since, so the next surge of the row may begin
	fast  time.Time // when reads were last fast, while row is set
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

// flowing reports whether a surge is on, or the next one of a row may be about to begin: then more data is likely to arrive within
// milliseconds.
func (s *surge) flowing() bool { return s.on || s.row && time.Since(s.since) < surgeSpan }
