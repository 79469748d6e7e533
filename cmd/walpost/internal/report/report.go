// Package report is the JSON of GET /api/status, which `walpost status --json` prints: the admin server writes it, its client reads it.
//
// Names and meanings never change, but names may be added. null never stands for zero. It stands for a value that is not known (such as
// everything that only a relay knows, if status had to ask Postgres instead), for an event that has not happened yet, or for a limit that
// is not set; the comment of each field says which. The server decides who may see a report.
package report

import (
	"time"

	"walpost/internal/reason"
	"walpost/relay"
	"walpost/relay/deadletter"
	"walpost/relay/parking"
	"walpost/relay/postgres"
)

// Report is the state of one relay at one moment.
type Report struct {
	Version string `json:"version"` // of the relay's binary; "" when no relay answered
	Role    string `json:"role"`    // leader, standby, starting, waiting, stopping; "none" when no relay answered
	Ready   bool   `json:"ready"`   // the answer of /readyz
	Reason  string `json:"reason"`  // why it is not ready, or not the leader; "" for a leader that is ready

	// ReasonCode is the reason as a code that never changes, the same as in /readyz; "" when no relay answered.
	ReasonCode reason.Code `json:"reason_code"`

	Since *time.Time `json:"since"` // since when it has had the role; null: not known

	Slot Slot `json:"slot"`

	LagSeconds      *float64       `json:"lag_seconds"`       // age of the oldest transaction with unacked events; 0: there is none; null: not known
	EventsPerSecond *Rates         `json:"events_per_second"` // acknowledged by Kafka; null: not known
	InFlight        *InFlight      `json:"in_flight"`         // null: not known
	Events          *Events        `json:"events"`            // null: not known
	LastEvent       *time.Time     `json:"last_event"`        // when an outbox row last came from Postgres; null: never since the process began
	LastAck         *time.Time     `json:"last_ack"`          // when Kafka last acknowledged; null: never since the process began
	LastConfirm     *time.Time     `json:"last_confirm"`      // when a higher position was last confirmed to Postgres; null: never since the process began
	BlockedTopics   []BlockedTopic `json:"blocked_topics"`    // topics whose events wait for Kafka, the longest wait first; never null
	DeadLetters     *DeadLetters   `json:"dead_letters"`      // events that wait for a person; null: not known
	ParkedTopics    []ParkedTopic  `json:"parked_topics"`     // topics that take no records, and whose events are parked until they do; never null
	Alarms          []Alarm        `json:"alarms"`            // what needs a person; never null
}

// Alarm is what needs a person.
type Alarm struct {
	Reason reason.Code `json:"reason_code"`
	Text   string      `json:"text"` // the object, the cause and the cure
	Since  time.Time   `json:"since"`
}

// Slot is the replication slot, as Postgres last described it: every ten seconds for a relay.
type Slot struct {
	Name              string     `json:"name"`
	Seen              *time.Time `json:"seen"`                // when Postgres was asked; null: not yet, and the next five fields mean nothing
	Active            bool       `json:"active"`              // a client streams from it
	WALStatus         string     `json:"wal_status"`          // reserved, extended, unreserved, lost; "": the slot does not exist
	RetainedBytes     int64      `json:"retained_bytes"`      // WAL that Postgres keeps for it
	SafeBytes         *int64     `json:"safe_bytes"`          // WAL that can still be written before Postgres may invalidate the slot; null: max_slot_wal_keep_size sets no limit
	ConfirmedLSN      string     `json:"confirmed_lsn"`       // Postgres may discard the WAL before it; "": none
	ConfirmedLagBytes *int64     `json:"confirmed_lag_bytes"` // WAL between ConfirmedLSN and the end of what the server has sent; null: not known
}

// Rates are events per second over the last ten seconds and the last minute, or since the process began where that is shorter.
type Rates struct {
	Last10s float64 `json:"last_10s"`
	Last1m  float64 `json:"last_1m"`
}

// InFlight counts the events that were published and not yet acked, and gives their limit.
type InFlight struct {
	Events     int64 `json:"events"`
	Bytes      int64 `json:"bytes"`
	LimitBytes int64 `json:"limit_bytes"`
}

// Events counts events since the process began.
type Events struct {
	Received  int64 `json:"received"`  // from the slot, redeliveries included
	Published int64 `json:"published"` // acknowledged by Kafka, rows of a backfill included
}

// DeadLetters counts the events that are parked in walpost.dead_letters.
type DeadLetters struct {
	Events int64      `json:"events"` // as last counted
	Keys   int        `json:"keys"`   // keys whose events wait; an event without a key has none
	Oldest *time.Time `json:"oldest"` // when the first of them was parked, as read every ten seconds; null: nothing is parked, or not known
	Waits  string     `json:"waits"`  // why more events cannot be parked, so that they wait in memory; "": they can
}

// ParkedTopic is a topic that takes no records. Its events wait in walpost.dead_letters, and walpost publishes them when it does.
type ParkedTopic struct {
	Topic  string      `json:"topic"`
	Reason reason.Code `json:"reason_code"`
	Detail string      `json:"detail"` // the message of the broker; "": not known
	Cure   string      `json:"cure"`   // what a person can do; "": not known
	Since  time.Time   `json:"since"`
	Events int64       `json:"events"` // in the table; just after a start, only how many have come or gone since
	Bytes  int64       `json:"bytes"`  // of their keys, values and headers
}

// BlockedTopic is a topic whose events Kafka does not accept at the moment.
type BlockedTopic struct {
	Topic   string  `json:"topic"`
	Seconds float64 `json:"seconds"` // for how long
}

// SetRelay fills in the relay's own state. A reason that is already set stays.
func (r *Report) SetRelay(s relay.State, now time.Time) {
	r.Role, r.Since = string(s.Role), timeOrNull(s.Since)
	if r.ReasonCode == "" {
		r.ReasonCode, r.Reason = s.Code, s.Reason
	}
	r.Slot.Set(s.Slot)
	r.Slot.ConfirmedLagBytes = &s.LagBytes
	lag := 0.0
	if !s.OldestUnacked.IsZero() {
		lag = max(now.Sub(s.OldestUnacked).Seconds(), 0) // not less than 0: the clocks may differ
	}
	r.LagSeconds = &lag
	r.DeadLetters = &DeadLetters{s.Parked.Events, s.Parked.Keys, timeOrNull(s.ParkedSince), s.Parked.Why()}
	for _, w := range s.Parked.Topics {
		r.ParkedTopics = append(r.ParkedTopics, ParkedTopic{w.Topic, w.Code, w.Detail, w.Cure, w.Since, w.Events, w.Bytes})
	}
	for _, a := range s.Parked.Alarms(now) {
		r.Alarms = append(r.Alarms, Alarm{a.Code, a.Text, a.Since})
	}
	r.InFlight = &InFlight{s.Unacked, s.InFlightBytes, s.InFlightLimit}
	if r.Events == nil {
		r.Events = &Events{}
	}
	r.Events.Received = s.Received
	r.LastEvent, r.LastAck, r.LastConfirm = timeOrNull(s.LastEvent), timeOrNull(s.LastAck), timeOrNull(s.LastConfirm)
}

// SetParked fills in what Postgres knows of parked events. nil: it does not say.
func (r *Report) SetParked(s *deadletter.Summary) {
	if s != nil {
		r.DeadLetters = &DeadLetters{Events: s.Events, Keys: int(s.Keys), Oldest: timeOrNull(s.Oldest)}
		for _, t := range s.Topics {
			code, detail := parking.Cause(t.Detail)
			r.ParkedTopics = append(r.ParkedTopics, ParkedTopic{Topic: t.Topic, Reason: code, Detail: detail, Since: t.Since, Events: t.Events, Bytes: t.Bytes})
		}
	}
}

// Set fills in the state of the slot in Postgres.
func (r *Slot) Set(s postgres.SlotState) {
	r.Seen, r.Active, r.WALStatus, r.RetainedBytes, r.ConfirmedLSN = timeOrNull(s.Seen), s.Active, s.WALStatus, s.RetainedBytes, s.ConfirmedFlush
	if s.SafeBytes >= 0 && !s.Seen.IsZero() {
		r.SafeBytes = &s.SafeBytes
	}
}

// timeOrNull returns nil, which JSON shows as null, for the zero time.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
