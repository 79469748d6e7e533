package sink

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"walpost/sink/wire"
)

// A broker that gets a request above socket.request.max.bytes ends the connection without a word, and so does a proxy with a limit of its
// own. All that is under way on the connection fails, and nobody says which request it was. Were everything sent again as before, the
// connection would end again, for ever. So a sender counts such hang-ups. After a few in a row it sends one lane at a time, which tells
// whose request it is, until each lane that was in one of those requests has an answer. A lane that ends its connection even so is sent
// apart from the others from then on, see sender_apart.go.
//
// Connections also end because a broker stops, crashes or is cut off. Then the next attempt to connect fails as well, and the count begins
// again. Those that a firewall or a balancer cuts do not accuse the same lane again and again, with others being answered meanwhile.

const (
	narrowAfter = 3 // hang-ups in a row, after which lanes are sent one by one
	apartAfter  = 2 // hang-ups in a row on a lane alone, after which it is sent apart
	blameAfter  = 5 // hang-ups in a row on a lane sent apart, after which its request is held to be the cause: connections are cut for other reasons

	rowLasts  = 10 * time.Second // two hang-ups that lie further apart are not in a row
	lonePause = 15 * time.Second // how long a row lasts before a lane is set apart although no other one was answered: a proxy may be alive, and the broker behind it dead

	// lateHangUp is how long after a request its end has nothing to do with its size: a limit is judged by the length that precedes a request.
	lateHangUp = 3 * time.Second

	leastRequest = 64 << 10         // requests of several lanes are not kept smaller than this
	limitLasts   = 10 * time.Minute // how long they are kept small
)

// hangUps is what a sender knows of connections that the peer ended while requests were under way. The sender's lock guards it. The zero
// value knows of none.
type hangUps struct {
	row      int // connections that ended, one after the other
	since    time.Time
	last     time.Time
	failures int                     // to connect, before the last one, see wire.Splicer.Failures
	conn     int                     // the connection that was counted last
	lanes    map[*partition]involved // that were in requests on those connections, and not answered since
	others   bool                    // another request was answered since the row began
	apart    bool                    // a lane was set apart since then
	largest  int                     // bytes of the largest request of several lanes on those connections
	told     time.Time               // when the row was last logged

	// Rows that ended with every lane alone being answered, after requests of several: then these may have been too large together.
	together int // so many, with no request of so many bytes answered meanwhile
	size     int // the least of the largest requests in each

	limit      int // most bytes of a request of several lanes, until limitUntil
	limitUntil time.Time
	bound      int // a request of so many bytes ended its connection each time it was sent, 0: none did
}

// involved is what is known of a lane that was in a request whose connection ended.
type involved struct {
	alone int // times in a row that it was alone
	bytes int // of its batch
}

// finding is what follows from how a request ended.
type finding struct {
	narrow  bool       // lanes are sent one by one from now on
	limit   int        // requests of several lanes are kept below so many bytes from now on, 0: as before
	suspect *partition // is sent apart from now on
}

// hungUp reports whether the peer ended the connection on which a request was under way. Its err is not of a refused dial, a time-out or a
// connection that we closed.
func hungUp(err error) bool {
	var sent interface{ NotSent() bool }
	return err != nil && wire.HungUp(err) && !(errors.As(err, &sent) && sent.NotSent())
}

// narrow reports whether lanes are sent one by one.
func (h *hangUps) narrow(now time.Time) bool {
	return h.row >= narrowAfter && now.Sub(h.last) < rowLasts
}

// ended notes that the connection of a request was ended by the peer.
func (h *hangUps) ended(r *request, failures int, lonePause time.Duration, now time.Time) (f finding) {
	gone := failures != h.failures // the broker was, meanwhile
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

// answered notes that a request was answered, whatever the answer.
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

// acquit takes the lanes of a request off the list, and ends the row with the last of them. When that has happened a few times after
// requests of several lanes, none of which was guilty alone, it is their sum that is too large: it is bounded, and the bound returned.
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

// order puts the lanes with the largest batches among those that were involved first, for it is most likely one of them. Those that have
// ended a connection alone come last: what stands behind them in the queue fails with the connection and would never be sent.
func (h *hangUps) order(queue []*partition) {
	slices.SortStableFunc(queue, func(a, b *partition) int {
		return cmp.Or(cmp.Compare(h.lanes[a].alone, h.lanes[b].alone), cmp.Compare(h.lanes[b].bytes, h.lanes[a].bytes))
	})
}

// inherited returns what the sender of the same broker, over another connection of sarama's, goes on with.
func (s *sender) inherited() hangUps {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hangUps
	s.hangUps.forget() // its lanes are the other's now
	h.conn = -1        // of which it has none yet
	return h
}

// bounds are limits of the next request.
type bounds struct {
	request int  // bytes, if it has several lanes
	apart   int  // a lane whose request alone has so many bytes is sent apart
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
		s.p.log.Warn("a broker ends connections instead of answering: partitions are sent one by one, to find out which request it is", "broker", s.Addr())
	}
	if f.limit > 0 {
		s.p.log.Warn("a broker ends connections on large requests: they are kept smaller for a while", "broker", s.Addr(), "bytes", f.limit, "for", limitLasts,
			"cure", "lower kafka.max.request.size, or raise socket.request.max.bytes of the brokers or the limit of what stands before them")
	}
	if f.suspect != nil && f.suspect.topic.warned.due(setApart) {
		s.p.log.Info("a partition is sent apart from the others: connections end when it is sent", "broker", s.Addr(), "topic", f.suspect.topic.name, "partition", f.suspect.index)
	}
}

// mayTell reports whether a row may be logged, which it may every minute.
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
