package sink

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"walpost/sink/wire"
)

// A broker that gets a request above socket.request.max.bytes closes the connection without an answer. A proxy with a limit of its own does
// the same. Then all requests on the connection fail, and nothing tells which of them was too large. If the sender sent everything again as
// before, the connection would end again and again. So a sender counts such hang-ups. After a few in a row it sends one lane at a time,
// which shows whose request causes them. It does so until each lane of the failed requests has an answer. If a lane ends its connection
// even when it is sent alone, it is sent apart from then on, see sender_apart.go.
//
// Connections also end because a broker stops, crashes or is cut off. Then the next attempt to connect fails as well, and the count starts
// again. A firewall or load balancer that cuts connections does not hit the same lane again and again while other lanes are answered.

const (
	narrowAfter = 3 // hang-ups in a row, after which lanes are sent one by one
	apartAfter  = 2 // hang-ups in a row on a lane that is sent alone, after which it is sent apart
	blameAfter  = 5 // hang-ups in a row on a lane sent apart, after which its request counts as the cause: connections are also cut for other reasons

	rowLasts  = 10 * time.Second // hang-ups that are further apart in time are not in a row
	lonePause = 15 * time.Second // how long a row lasts before a lane is sent apart although no other lane was answered: a proxy may be alive while the broker behind it is dead

	// lateHangUp is the time after which a hang-up has nothing to do with a request's size: the receiver judges the size by the length at
	// the start of the request.
	lateHangUp = 3 * time.Second

	leastRequest = 64 << 10         // the limit for requests of several lanes is never below this
	limitLasts   = 10 * time.Minute // how long such a limit is in force
)

// hangUps is what a sender knows about connections that the peer closed while requests were under way. The sender's lock guards it. The
// zero value knows none.
type hangUps struct {
	row      int // connections that ended one after the other
	since    time.Time
	last     time.Time
	failures int                     // attempts to connect that failed before the last hang-up, see wire.Splicer.Failures
	conn     int                     // the connection that was counted last
	lanes    map[*partition]involved // lanes that were in requests on those connections and have no answer since
	others   bool                    // another request was answered since the row began
	apart    bool                    // a lane was sent apart since the row began
	largest  int                     // bytes of the largest request of several lanes on those connections
	told     time.Time               // when a row was last logged

	// Some rows end because every lane is answered when it is sent alone, after requests of several lanes had failed. Then those requests
	// may have been too large together.
	together int // number of such rows, while no request of size bytes was answered
	size     int // the smallest of the rows' largest requests

	limit      int // maximum bytes of a request of several lanes, until limitUntil
	limitUntil time.Time
	bound      int // a request of this many bytes ended its connection each time it was sent; 0: none did
}

// involved is what is known about a lane that was in a request whose connection ended.
type involved struct {
	alone int // how often in a row it was alone in the request
	bytes int // size of its batch
}

// finding is the conclusion from how a request ended.
type finding struct {
	narrow  bool       // lanes are sent one by one from now on
	limit   int        // requests of several lanes are smaller than this from now on; 0: no change
	suspect *partition // is sent apart from now on; nil: none
}

// hungUp reports whether err means that the peer closed the connection while a request was under way. A refused dial, a time-out and a
// connection that we closed do not count.
func hungUp(err error) bool {
	var sent interface{ NotSent() bool }
	return err != nil && wire.HungUp(err) && !(errors.As(err, &sent) && sent.NotSent())
}

// narrow reports whether lanes are sent one by one.
func (h *hangUps) narrow(now time.Time) bool {
	return h.row >= narrowAfter && now.Sub(h.last) < rowLasts
}

// ended notes that the peer closed the connection of a request.
func (h *hangUps) ended(r *request, failures int, lonePause time.Duration, now time.Time) (f finding) {
	gone := failures != h.failures // the broker was unreachable in the meantime
	if gone {
		h.together, h.size = 0, 0
	}
	if h.row > 0 && (gone || now.Sub(h.last) >= rowLasts) {
		h.forget()
	}
	h.failures = failures
	if h.row == 0 {
		h.since, h.lanes = now, map[*partition]involved{}
	}
	if h.row == 0 || h.conn != r.conn {
		h.row++
		f.narrow = h.row == narrowAfter
	}
	h.conn, h.last = r.conn, now
	if len(r.parts) > 1 {
		h.largest = max(h.largest, r.size.Bytes())
	}
	for _, part := range r.parts {
		lane := h.lanes[part.partition]
		lane.bytes = len(part.batch.Wire())
		if r.alone {
			lane.alone++
		}
		h.lanes[part.partition] = lane
	}
	suspect := r.parts[0].partition
	if h.lanes[suspect].alone >= apartAfter && (h.others || now.Sub(h.since) >= lonePause) {
		f.suspect, h.apart = suspect, true
		f.limit = h.acquit(r, now)
	}
	return f
}

// answered notes that a request was answered, with success or an error.
func (h *hangUps) answered(r *request, now time.Time) (f finding) {
	if h.size > 0 && r.size.Bytes() >= h.size {
		h.together, h.size = 0, 0
	}
	if h.row > 0 {
		h.others = true
		f.limit = h.acquit(r, now)
	}
	return f
}

// acquit removes the lanes of a request from the list, and ends the row when the list is empty. If that happens a few times after requests
// of several lanes, and no lane failed alone, then the lanes are too large together. acquit limits their size, and returns the limit.
func (h *hangUps) acquit(r *request, now time.Time) (limit int) {
	for _, part := range r.parts {
		delete(h.lanes, part.partition)
	}
	if len(h.lanes) > 0 {
		return 0
	}
	if !h.apart && h.largest > leastRequest {
		if h.size == 0 || h.largest < h.size {
			h.size = h.largest
		}
		if h.together++; h.together >= narrowAfter || h.narrow(now) {
			limit = max(h.size/2, leastRequest)
			h.limit, h.limitUntil = limit, now.Add(limitLasts)
			h.together, h.size = 0, 0
		}
	}
	h.forget()
	return limit
}

// forget ends the row.
func (h *hangUps) forget() {
	*h = hangUps{failures: h.failures, told: h.told, together: h.together, size: h.size, limit: h.limit, limitUntil: h.limitUntil, bound: h.bound}
}

// order sorts the queue: of the involved lanes, those with the largest batches come first, because they are the most likely cause. Lanes
// that have ended a connection alone come last: the lanes behind them in the queue would fail with the connection, and never be sent.
func (h *hangUps) order(queue []*partition) {
	slices.SortStableFunc(queue, func(a, b *partition) int {
		return cmp.Or(cmp.Compare(h.lanes[a].alone, h.lanes[b].alone), cmp.Compare(h.lanes[b].bytes, h.lanes[a].bytes))
	})
}

// inherited returns the state for the next sender of the same broker, which uses another connection of sarama's.
func (s *sender) inherited() hangUps {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hangUps
	s.hangUps.forget() // its lanes belong to the other sender now
	h.conn = -1        // the new sender has no connection yet
	return h
}

// bounds are limits of the next request.
type bounds struct {
	request int  // bytes, if it has several lanes
	apart   int  // a lane whose request alone has this many bytes is sent apart
	narrow  bool // it has one lane
}

func (s *sender) bounds() bounds {
	b := bounds{request: s.p.cfg.requestLimit(), apart: 1 << 62}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.hangUps
	if h.limit > 0 && time.Now().Before(h.limitUntil) {
		b.request = min(b.request, h.limit)
	}
	if h.bound > 0 {
		b.apart = h.bound
		b.request = min(b.request, h.bound-1)
	}
	b.narrow = h.narrow(time.Now())
	return b
}

// tell logs a finding.
func (s *sender) tell(f finding) {
	if f.narrow && s.mayTell() {
		s.p.log.Warn("a broker ends connections instead of answering: partitions are sent one by one, to find the request that causes it", "broker", s.Addr())
	}
	if f.limit > 0 {
		s.p.log.Warn("a broker ends connections when it gets large requests: requests are kept smaller for a while", "broker", s.Addr(), "bytes", f.limit, "for", limitLasts,
			"cure", "lower kafka.max.request.size, or raise socket.request.max.bytes of the brokers, or the limit of a proxy in front of them")
	}
	if f.suspect != nil && f.suspect.topic.warned.due(setApart) {
		s.p.log.Info("a partition is sent over a connection of its own: connections end when it is sent", "broker", s.Addr(), "topic", f.suspect.topic.name, "partition", f.suspect.index)
	}
}

// mayTell reports whether a row may be logged, which is so once a minute.
func (s *sender) mayTell() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.hangUps.told) < warnEvery {
		return false
	}
	s.hangUps.told = now
	return true
}
