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
	s.handOver(false) // what the sink has, it must let go, or it would never be acked
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
		s.confirmer.End(false) // the connection is going
		return err
	}
	by := time.Now().Add(replication.DrainLimit) // for both together, or a stop would take longer than is documented
	if errors.Is(err, replication.ErrLeave) && s.windowBegun.Load() && s.tracker.Drained() {
		s.recordStop(by)
	}
	s.confirmer.End(true)
	s.stream.TakeLeave(by)
	return err
}

// leave waits for acks, for as long as leaving may take.
func (s *session) leave() error {
	if !s.windowBegun.Load() {
		return replication.ErrLeave // what the sink holds is of an older session, and could not be confirmed
	}
	if s.leaveBy.IsZero() {
		s.leaveBy = time.Now().Add(s.relay.cfg.ShutdownTimeout)
	}
	if err := s.stream.Resume(time.Time{}); err != nil {
		return err
	}
	err := s.await(s.tracker.Drained)
	if errors.Is(err, replication.ErrTooLate) {
		s.relay.log.Warn("leaving with events that are not acked: they stay in the slot, and the next run sends them again, with what stands behind them",
			"events", s.tracker.Load().Unacked, "waited", s.relay.cfg.ShutdownTimeout)
	}
	if err == nil || errors.Is(err, replication.ErrTooLate) {
		return replication.ErrLeave
	}
	return err
}

// stopBeforeUnread stops for the watcher's reason, in front of what was not read yet.
func (s *session) stopBeforeUnread() error {
	err := *s.stopReason.Load()
	if !s.windowBegun.Load() {
		return err // what the sink holds is of an older session, and could not be confirmed
	}
	s.tracker.Rejected(s.pass.AtHand(), err)
	return errRefused
}

// halt waits until everything before the refused event's transaction is acked, and returns why the relay stops.
func (s *session) halt() error {
	if err := s.stream.Resume(time.Time{}); err != nil {
		return err
	}
	if s.leaving.Err() != nil && s.leaveBy.IsZero() { // it may have come while another cause stood, and does not come again
		s.leaveBy = time.Now().Add(s.relay.cfg.ShutdownTimeout)
	}
	alone := func() bool {
		r, alone := s.tracker.Refusal()
		return r != nil && alone
	}
	err := s.await(alone)
	for errors.Is(err, errRefused) { // another one: what stands before the first of them is waited for all the same
		if err = s.stream.Resume(time.Time{}); err == nil {
			err = s.await(alone)
		}
	}
	refused, _ := s.tracker.Refusal()
	fault := s.refusedEvent(refused)
	if pgerror.IsPermanent(refused.Err) {
		fault = refused.Err // a stream that cannot be decoded: it says so itself
	}
	if err != nil {
		s.relay.log.Warn("events before the refused one are not all confirmed and will come again", "err", err)
	}
	return fault
}

// refusedEvent returns the fault of an event that the sink can never deliver. Its row is in the WAL, so what is done to the table does not help.
func (s *session) refusedEvent(r *inflight.Refusal) error {
	err := fmt.Errorf("event refused: %w", r.Err)
	code := pgerror.Reason(r.Err)
	cure := "nothing from its transaction on is confirmed, and all of it comes again"
	pass := ""
	if lsn := s.tracker.Beyond(r.Tx); lsn != 0 {
		pass = s.passBy(lsn)
	}
	switch {
	case isIncurable(r.Err) && pass != "":
		return pgerror.Permanent(code, err, "%s as it stands in the WAL, whatever is done to the row: %s", cure, pass)
	case pass != "":
		return pgerror.Permanent(code, err, "%s as it stands in the WAL: remove the cause and start walpost; where that cannot be done, %s", cure, pass)
	}
	return pgerror.Permanent(code, err, "%s: remove the cause and start walpost", cure)
}

// isIncurable reports whether a sink's error says that no setting can be corrected to have the event delivered.
func isIncurable(err error) bool {
	var i interface{ Incurable() bool }
	return errors.As(err, &i) && i.Incurable()
}

// await waits until done, which an ack or a refusal may make true. The reader listens to nothing else meanwhile. What stops it is
// returned, but for a wish to leave: that becomes a deadline.
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

// recordStop records where a clean stop leaves the slot: only the last status moves it any more, and says the same. The session still has the
// slot, so a relay that takes it next writes later. It gives up at by.
func (s *session) recordStop(by time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), by)
	defer cancel()
	lsn, commit := s.tracker.Confirmed()
	if err := s.recorder.Record(ctx, lsn, commit, true); err != nil {
		s.relay.log.Warn("the stop is not recorded", "err", err)
	}
}
