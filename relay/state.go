package relay

import (
	"sync"
	"time"

	"walpost/internal/reason"
	"walpost/relay/parking"
	"walpost/relay/postgres"
)

// Role is what a relay is doing.
type Role string

// The roles of a relay.
const (
	Starting Role = "starting" // first connection, checks, backfill
	Leader   Role = "leader"   // it holds the slot and streams
	Standby  Role = "standby"  // another relay holds the slot
	Waiting  Role = "waiting"  // it waits for something that time can cure
)

// State is what a relay is doing at one moment, for readiness and status pages.
type State struct {
	Role   Role
	Code   reason.Code // why it does not stream, without names; of a leader, why Postgres sends nothing, and otherwise ""
	Reason string      // the same as a text for people, with hosts, roles and cures
	Since  time.Time   // since when it has had this role

	Unacked       int64     // events that the sink holds
	UnackedSince  time.Time // since when the sink has held events and acked none; zero: it holds none
	OldestUnacked time.Time // commit time of the oldest transaction with unacked events; zero: there is none, or only a backfill's
	InFlightBytes int64     // bytes of the budget that unacked events use
	InFlightLimit int64     // the budget: when it is used up, reading stops

	LastEvent   time.Time // when an event last came from Postgres
	LastAck     time.Time // when the sink last acked
	LastConfirm time.Time // when a higher position was last confirmed to Postgres

	Received     int64 // outbox rows received from the slot since this process began, including redeliveries
	Transactions int64 // complete transactions received from the slot
	Acked        int64 // events that the sink acked, without those of a backfill

	Parked      parking.Parked // events that are parked
	ParkedSince time.Time      // when the first of them was parked, as read every ten seconds; zero: not known

	LagBytes int64 // bytes of WAL between the last position that the server sent in this session and the last confirmed one
	Slot     postgres.SlotState
}

// State returns what the relay is doing. Any goroutine may call it at any time.
func (r *Relay) State() State {
	s := r.state.get()
	l := r.tracker.Load()
	s.Unacked, s.UnackedSince, s.LastAck = l.Unacked+r.metrics.filled(), l.Waiting, l.LastAck
	s.OldestUnacked, s.InFlightBytes, s.InFlightLimit = l.Oldest, r.budget.Used(), r.budget.Limit()
	m := r.metrics
	s.LastEvent, s.LastConfirm = m.lastEvent.time(), m.lastConfirm.time()
	s.Received, s.Transactions, s.Acked = m.events.Load(), m.transactions.Load(), l.Acked
	s.LagBytes = m.confirmedLag()
	if s.Parked = r.parked(); s.Parked.Events == 0 {
		s.ParkedSince = time.Time{}
	}
	return s
}

// liveState is the part of the state that the relay sets: role, reason and slot.
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

// explain sets or takes away the reason why a leader gets no events. A reason of another code stays. It reports whether it changed
// something.
func (s *liveState) explain(code reason.Code, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.state.Code
	if s.state.Role != Leader || was != "" && was != code || s.state.Reason == text {
		return false
	}
	if s.state.Code, s.state.Reason = code, text; text == "" {
		s.state.Code = ""
	}
	return true
}

// see notes the state of the slot, as it was just read.
func (s *liveState) see(slot postgres.SlotState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Slot = slot
}

// seeParked notes when the first of the parked events was parked; zero: nothing is parked.
func (s *liveState) seeParked(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.ParkedSince = since
}

// slot returns the state of the slot, as it was last read.
func (s *liveState) slot() postgres.SlotState { return s.get().Slot }

// lead sets the role: leader if on, else waiting if the relay was a leader.
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
