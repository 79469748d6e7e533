package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walpost/relay/inflight"
	"walpost/relay/pgerror"
	"walpost/relay/replication"
)

// conclude ends the session, whatever stopped the reader, and returns the session's error.
func (s *session) conclude(err error) error {
	s.handOver(false) // the sink must send what it holds, or that would never be acked
	defer s.stream.Close()
	if errors.Is(err, replication.ErrLeave) || errors.Is(err, replication.ErrTooLate) {
		err = s.leave()
	}
	if errors.Is(err, errStopped) || errors.Is(err, replication.ErrLeave) && s.stopReason.Load() != nil {
		err = s.stopBeforeUnread()
	}
	if errors.Is(err, errRefused) {
		err = s.halt()
	}
	s.recording()
	s.relay.watcher.watch(nil)
	if s.streamFailed || !errors.Is(err, replication.ErrLeave) && !errors.Is(err, replication.ErrStopping) && !pgerror.IsPermanent(err) {
		s.confirmer.End(false) // the connection is broken, or is to be dropped
		return err
	}
	by := time.Now().Add(replication.DrainLimit) // one limit for both steps, or a stop would take longer than is documented
	if errors.Is(err, replication.ErrLeave) && s.windowBegun.Load() && s.tracker.Drained() {
		s.recordStop(by)
	}
	s.confirmer.End(true)
	s.stream.Terminate(by)
	return err
}

// leave waits for acks, as long as ShutdownTimeout allows.
func (s *session) leave() error {
	if !s.windowBegun.Load() {
		return replication.ErrLeave // the sink holds events of an older session, which cannot be confirmed in this one
	}
	if s.leaveBy.IsZero() {
		s.leaveBy = time.Now().Add(s.relay.cfg.ShutdownTimeout)
	}
	if err := s.stream.Resume(time.Time{}); err != nil {
		return err
	}
	err := s.await(s.tracker.Drained)
	s.restParker()
	if errors.Is(err, replication.ErrTooLate) {
		s.relay.log.Warn("stopping with events that are not acked: they stay in the slot, and the next run sends them again, with all events after them",
			"events", s.tracker.Load().Unacked, "waited", s.relay.cfg.ShutdownTimeout)
	}
	if err == nil || errors.Is(err, replication.ErrTooLate) {
		return replication.ErrLeave
	}
	return err
}

// stopBeforeUnread stops for the watcher's reason, before the first transaction that was not read completely.
func (s *session) stopBeforeUnread() error {
	err := *s.stopReason.Load()
	if !s.windowBegun.Load() {
		return err // the sink holds events of an older session, which cannot be confirmed in this one
	}
	s.tracker.Rejected(s.pass.AtHand(), err)
	return errRefused
}

// halt waits until everything before the refused event's transaction is acked, and returns why the relay stops.
func (s *session) halt() error {
	if err := s.stream.Resume(time.Time{}); err != nil {
		return err
	}
	if s.leaving.Err() != nil && s.leaveBy.IsZero() { // the wish to stop may have come while the stream had another cause, and does not come again
		s.leaveBy = time.Now().Add(s.relay.cfg.ShutdownTimeout)
	}
	alone := func() bool {
		r, alone := s.tracker.Refusal()
		return r != nil && alone
	}
	err := s.await(alone)
	for errors.Is(err, errRefused) { // another refusal: what comes before the first of them still has to be acked
		if err = s.stream.Resume(time.Time{}); err == nil {
			err = s.await(alone)
		}
	}
	refused, _ := s.tracker.Refusal()
	fault := s.refusedEvent(refused)
	if pgerror.IsPermanent(refused.Err) {
		fault = refused.Err // it has a cure of its own, as for a row that cannot be decoded
	}
	if err != nil {
		s.relay.log.Warn("not all events before the refused one are confirmed; the next run sends the others again", "err", err)
	}
	return fault
}

// refusedEvent returns the fault of an event that the sink can never deliver. The event is in the WAL, so a change of its row in the table
// does not help.
func (s *session) refusedEvent(r *inflight.Refusal) error {
	err := fmt.Errorf("event refused: %w", r.Err)
	code := pgerror.Reason(r.Err)
	cure := "walpost has not confirmed its transaction and later ones, and reads them again"
	pass := ""
	if lsn := s.tracker.Beyond(r.Tx); lsn != 0 {
		pass = s.passBy(lsn)
	}
	switch {
	case isIncurable(r.Err) && pass != "":
		return pgerror.Permanent(code, err, "%s as they are in the WAL, whatever you do to the row: %s", cure, pass)
	case pass != "":
		return pgerror.Permanent(code, err, "%s as they are in the WAL: remove the cause and start walpost; if that is impossible, %s", cure, pass)
	}
	return pgerror.Permanent(code, err, "%s: remove the cause and start walpost", cure)
}

// isIncurable reports whether a sink's error says that no change of a setting can help.
func isIncurable(err error) bool {
	var i interface{ Incurable() bool }
	return errors.As(err, &i) && i.Incurable()
}

// await waits until done returns true, which it checks after each ack and refusal. Meanwhile the reader does not read the stream. await
// returns the cause of an interruption, except the wish to stop: that only sets a deadline.
func (s *session) await(done func() bool) error {
	s.confirmer.Hold(true)
	defer s.confirmer.Hold(false)
	for !done() {
		err := s.sleep(s.tracker.Changed)
		if errors.Is(err, replication.ErrLeave) && s.windowBegun.Load() {
			if s.leaveBy.IsZero() {
				s.leaveBy = time.Now().Add(s.relay.cfg.ShutdownTimeout)
			}
			err = s.stream.Resume(time.Time{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *session) refused() bool {
	r, _ := s.tracker.Refusal()
	return r != nil
}

// recordStop records the position at which a clean stop leaves the slot. After that, only the last status can move the slot, and it has the
// same position. The session still has the slot, so the next relay writes its record later. recordStop gives up at by.
func (s *session) recordStop(by time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), by)
	defer cancel()
	lsn, commit := s.tracker.Confirmed()
	if err := s.recorder.Record(ctx, lsn, commit, true); err != nil {
		s.relay.log.Warn("the clean stop is not recorded", "err", err)
	}
}
