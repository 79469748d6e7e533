package relay

import "time"

// A surge is when small reads follow each other so fast that the server pays more for sending each message than for decoding it. Then
// it is cheaper for both sides to let the messages pile up: the socket's low-water mark is set high and the read gets a deadline. When
// the deadline passes, the mode ends, what is there is drained by normal reads, and if they come fast again, so does the mode.
//
// The constants were measured over loopback; others lose the gain. Above all the wait must end by its deadline and not by bytes, and
// the mode must be left each time: a reader that stays silent for the full wait keeps the server's congestion window small, so that
// its messages queue and leave in large pieces.
const (
	surgeReads = 16                   // so many reads
	surgeSpan  = 2 * time.Millisecond // within so long begin a surge
	surgeMark  = 1 << 20              // low-water mark during it
	surgeWait  = 5 * time.Millisecond // no read waits longer during it
)

// surge counts reads. It is the reader's own.
type surge struct {
	on    bool
	reads int
	since time.Time
}

// read counts one read and tells whether it begins a surge.
func (s *surge) read() bool {
	if s.on {
		return false
	}
	if s.reads++; s.reads < surgeReads {
		return false
	}
	now := time.Now()
	s.on = now.Sub(s.since) < surgeSpan
	s.reads, s.since = 0, now
	return s.on
}

// end ends the surge.
func (s *surge) end() { *s = surge{since: time.Now()} }
