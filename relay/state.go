package relay

import (
	"sync"
	"time"

	"walpost/internal/reason"
	"walpost/relay/postgres"
)

// Role is what a relay is doing.
type Role string

// The roles of a relay.
const (
	Starting Role = "starting" // first connection, checks, backfill
	Leader   Role = "leader"   // it holds the slot and streams
	Standby  Role = "standby"  // another relay holds the slot
	Waiting  Role = "waiting"  // for something that time cures
)

// State is what a relay is doing at a moment, for readiness and status pages.
type State struct {
	Role   Role
	Code   reason.Code // why it does not lead, without names; of a leader, why nothing comes from Postgres though it streams, mostly ""
	Reason string      // the same for people, with hosts, roles and cures
	Since  time.Time   // since when

	Unacked       int64     // events that the sink holds
	UnackedSince  time.Time // since when it holds events without having acked one; zero: it holds none
	OldestUnacked time.Time // when the oldest transaction with unacked events was committed; zero: there is none, or none from the slot
	InFlightBytes int64     // what unacked events take of the budget
	InFlightLimit int64     // the budget: when it is used up, reading stops

	LastEvent   time.Time // when an event last came from Postgres
	LastAck     time.Time // when the sink last acked
	LastConfirm time.Time // when Postgres was last told a higher position

	Received     int64 // outbox rows that came from the slot since this process began, redeliveries included
	Transactions int64 // transactions that came whole
	Acked        int64 // events that the sink acked, those of a backfill not included

	LagBytes int64 // WAL between what the server has sent in this session and what was confirmed to it
	Slot     postgres.SlotState
}

// State returns what the relay is doing. It may be called at any time from any goroutine.
func (r *Relay) State() State {
	s := r.state.get()
	l := r.tracker.Load()
	s.Unacked, s.UnackedSince, s.LastAck = l.Unacked+r.metrics.filled(), l.Waiting, l.LastAck
	s.OldestUnacked, s.InFlightBytes, s.InFlightLimit = l.Oldest, r.budget.Used(), r.budget.Limit()
	m := r.metrics
	s.LastEvent, s.LastConfirm = m.lastEvent.time(), m.lastConfirm.time()
	s.Received, s.Transactions, s.Acked = m.events.Load(), m.transactions.Load(), l.Acked
	s.LagBytes = m.confirmedLag()
	return s
}

// liveState is the part of the state that the relay sets itself.
type liveState struct {
	mu    sync.Mutex
	state State
}

// set changes role and reason, and reports whether they are new.
func (s *liveState) set(role Role, code reason.Code, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Role == role && s.state.Code == code && s.state.Reason == text {
		return false
	}
	if s.state.Role != role {
		s.state.Since = time.Now()
	}
	s.state.Role, s.state.Code, s.state.Reason = role, code, text
	return true
}

// see notes what was seen of the slot.
func (s *liveState) see(slot postgres.SlotState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Slot = slot
}

// slot returns what was last seen of the slot.
func (s *liveState) slot() postgres.SlotState { return s.get().Slot }

// lead makes the relay a leader, or, if it is one, no longer.
func (s *liveState) lead(on bool) {
	if on {
		s.set(Leader, "", "")
	} else if s.get().Role == Leader {
		s.set(Waiting, reason.StreamLost, "the session ended")
	}
}

func (s *liveState) get() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}
