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

// read is the reader's loop: bytes → change → window and sink. It hands over once per read of the connection.
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

// broken classifies an error of the stream. If the error is a fault, it came as a notice and the stream still works, so that everything
// before it can still be confirmed.
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
		if c.Err != nil { // only a warning: a row with these columns would stop the relay, but somebody may alter the table back before
			s.relay.log.Warn("the outbox's columns no longer fit", "err", c.Err)
		}
	}
	return nil
}

// unfit adds the cure to the error of a row that was written when the columns of the table did not fit the mapping. The columns that the
// table has now may be different again, so the cure names those of the row. If no mapping can read the row, a person can only skip its
// transaction.
func (s *session) unfit(err error) error {
	var column *schema.ColumnError
	var at *decoder.Error
	if !errors.As(err, &column) || !errors.As(err, &at) {
		return reason.With(reason.StreamUnreadable, err)
	}
	pass := s.passBy(inflight.JustBeyond(at.LSN))
	if column.Found != "" {
		return pgerror.Permanent(reason.RowUnreadable, err, "this row was written with that type, and altering the table again does not change it; everything before it is confirmed: %s", pass)
	}
	return pgerror.Permanent(reason.RowUnreadable, err, "this row was written when the table had the columns %s, and everything before it is confirmed: set outbox.columns to fit them and start walpost; "+
		"if walpost then reports that the table has other columns, give them these names (ALTER TABLE ... RENAME COLUMN) until it has read the row; if no names help, %s", s.columns, pass)
}

// passBy returns the cure for a transaction that can never be published completely: SQL that skips it by advancing the slot to lsn.
func (s *session) passBy(lsn pglogrepl.LSN) string {
	return fmt.Sprintf("publish the events of its transaction in another way, and skip it: SELECT pg_replication_slot_advance(%s, '%s')",
		schema.QuoteLiteral(s.relay.cfg.Slot), lsn)
}

func columnNames(r *decoder.Relation) string {
	names := make([]string, len(r.Columns))
	for i, c := range r.Columns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

// publish hands one event to the sink. Before that it waits for room in the budget.
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

// handOver adds the pass to the window, and only then flushes the sink, because acks may come at once. flowing says that more events come
// soon.
func (s *session) handOver(flowing bool) {
	if s.pass.Empty() {
		return
	}
	s.trace.handOver(&s.pass, flowing)
	end := s.pass.End()
	events, transactions := s.tracker.HandOver(&s.pass)
	m := s.relay.metrics
	m.transactions.Add(int64(transactions))
	if events > 0 {
		m.events.Add(int64(events))
		m.lastEvent.set(time.Now())
		s.sink.Flush(flowing)
	}
	if end != 0 {
		s.relay.handed.Store(uint64(end))
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

// admit waits until the budget has room for an event of that size. Only acks make room, so before it waits it hands everything over that
// was published.
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

// finishFirst handles a wish to stop that comes inside a transaction: it sets a deadline and lets the reader go on to the commit. A
// transaction of which only a part is published would be published again from its beginning.
func (s *session) finishFirst(err error) error {
	if !errors.Is(err, replication.ErrLeave) || !s.pass.Open() || !s.leaveBy.IsZero() {
		return err
	}
	s.leaveBy = time.Now().Add(s.relay.cfg.ShutdownTimeout)
	return s.stream.Resume(s.leaveBy)
}

// sleep waits for a token, for an interruption of the reader, or for the deadline of a stop.
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

// keepalive handles a keepalive, which has the position of the server and may ask for a status.
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
