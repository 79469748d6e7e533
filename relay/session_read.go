package relay

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/decoder"
	"walpost/internal/reason"
	"walpost/relay/inflight"
	"walpost/relay/pgerror"
	"walpost/relay/replication"
	"walpost/schema"
)

// read is the pipe: bytes → change → window and sink, one read's worth at a time.
func (s *session) read() error {
	for {
		m, err := s.stream.Next()
		if err != nil {
			return s.broken(err)
		}
		switch m.Kind {
		case replication.Incomplete:
			s.handOver(s.stream.Flowing())
			err = s.fill()
		case replication.XLogData:
			err = s.decode(m.Data)
		case replication.Keepalive:
			err = s.keepalive(m)
		case replication.Ended:
			err = replication.ErrEnded
		}
		if err != nil {
			return err
		}
	}
}

// broken classifies an error of the stream's. A fault came as a notice, in a stream that goes on: what precedes it can still be confirmed.
func (s *session) broken(err error) error {
	var lost *pgerror.Fault
	if errors.As(err, &lost) {
		s.tracker.Rejected(s.pass.AtHand(), err)
		return errRefused
	}
	s.streamFailed = pgerror.IsServerError(err)
	return s.relay.source.Classify(err, pgerror.Streaming)
}

// decode decodes one message and acts on the change.
func (s *session) decode(msg []byte) error {
	change, err := s.decoder.Decode(msg)
	if err != nil {
		s.tracker.Rejected(s.pass.AtHand(), s.unfit(err))
		return errRefused
	}
	switch c := change.(type) {
	case *decoder.Begin:
		s.pass.Begin(c.FinalLSN, c.CommitTime)
		s.timeline = s.history.Owner(c.FinalLSN)
		s.trace.transaction(s, c, msg)
	case *decoder.Insert:
		return s.publish(c, len(msg))
	case *decoder.Commit:
		s.pass.Seal(c.EndLSN)
		if !s.leaveBy.IsZero() {
			return replication.ErrLeave
		}
	case *decoder.Relation:
		s.columns = columnNames(c)
		if c.Err != nil { // a row in this shape would stop the relay: somebody may still alter it back
			s.relay.log.Warn("the outbox's columns no longer fit", "err", c.Err)
		}
	}
	return nil
}

// unfit adds the cure to the error of a row that was written when the table had other columns than the mapping says. What the table has
// now may be different again, so that is no help. Where no mapping reads the row, a person can only pass its transaction by.
func (s *session) unfit(err error) error {
	var column *schema.ColumnError
	var at *decoder.Error
	if !errors.As(err, &column) || !errors.As(err, &at) {
		return reason.With(reason.StreamUnreadable, err)
	}
	pass := s.passBy(inflight.JustBeyond(at.LSN))
	if column.Found != "" {
		return pgerror.Permanent(reason.RowUnreadable, err, "this row was written with that type, which altering the table again does not change, and everything before it is confirmed: %s", pass)
	}
	return pgerror.Permanent(reason.RowUnreadable, err, "this row was written when the table had the columns %s, and everything before it is confirmed: set outbox.columns to fit them and start walpost; "+
		"where it then says that the table has others, give them these names (ALTER TABLE ... RENAME COLUMN) until walpost has read on; where no names help, %s", s.columns, pass)
}

// passBy returns the cure of a transaction that can never be published whole and ends before lsn.
func (s *session) passBy(lsn pglogrepl.LSN) string {
	return fmt.Sprintf("publish otherwise what its transaction holds, and pass it by: SELECT pg_replication_slot_advance(%s, '%s')",
		schema.QuoteLiteral(s.relay.cfg.Slot), lsn)
}

func columnNames(r *decoder.Relation) string {
	names := make([]string, len(r.Columns))
	for i, c := range r.Columns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

// publish hands one event to the sink, when the budget lets it.
func (s *session) publish(c *decoder.Insert, size int) error {
	if err := s.admit(size); err != nil {
		return err
	}
	tx := s.pass.Add()
	c.Event.Position.Timeline = s.timeline
	bytes, err := s.sink.Publish(c.Event, tx)
	if err != nil {
		s.tracker.Rejected(tx, err)
		return errRefused
	}
	s.pass.Hold(bytes)
	return nil
}

// handOver adds the pass to the window, then flushes the sink. flowing says that more comes soon. Acks may come at once.
func (s *session) handOver(flowing bool) {
	if s.pass.Empty() {
		return
	}
	s.trace.handOver(&s.pass, flowing)
	events, transactions := s.tracker.HandOver(&s.pass)
	m := s.relay.metrics
	m.transactions.Add(int64(transactions))
	if events > 0 {
		m.events.Add(int64(events))
		m.lastEvent.set(time.Now())
		s.sink.Flush(flowing)
	}
}

// fill reads from the server.
func (s *session) fill() error {
	s.trace.begin(s.stream)
	err := s.stream.Fill()
	s.trace.read(s.stream)
	s.confirmer.Hear()
	return s.finishFirst(err)
}

// admit waits until the budget has room for an event of that size. Everything that was published is with the sink meanwhile: only acks
// make room.
func (s *session) admit(size int) error {
	if s.tracker.Budget.Admits(&s.pass, size) {
		return nil
	}
	s.handOver(false)
	s.confirmer.Hold(true)
	defer s.confirmer.Hold(false)
	for !s.tracker.Budget.Admits(&s.pass, size) {
		if err := s.finishFirst(s.sleep(s.tracker.Budget.Freed)); err != nil {
			return err
		}
	}
	return nil
}

// finishFirst turns the wish to leave, when it comes inside a transaction, into a deadline for the rest of it: a transaction that was
// published by half would be published again from its beginning.
func (s *session) finishFirst(err error) error {
	if !errors.Is(err, replication.ErrLeave) || !s.pass.Open() || !s.leaveBy.IsZero() {
		return err
	}
	s.leaveBy = time.Now().Add(s.relay.cfg.ShutdownTimeout)
	return s.stream.Resume(s.leaveBy)
}

// sleep waits for a token, or for what stops the reader.
func (s *session) sleep(token <-chan struct{}) error {
	var late <-chan time.Time
	if !s.leaveBy.IsZero() {
		timer := time.NewTimer(time.Until(s.leaveBy))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-token:
		return nil
	case <-s.stream.Woken:
		return s.stream.Interrupted()
	case <-late:
		return replication.ErrTooLate
	}
}

// keepalive acts on a keepalive, which says how far the server is and whether it wants a status.
func (s *session) keepalive(m replication.Message) error {
	s.handOver(s.stream.Flowing())
	s.tracker.Idle(m.WALEnd)
	s.relay.metrics.serverEnd.Store(uint64(m.WALEnd))
	if !m.Reply {
		return nil
	}
	s.confirmer.Ping()
	if s.shutdown.Ping(time.Now(), m.WALEnd) {
		return replication.ErrStopping
	}
	return nil
}
