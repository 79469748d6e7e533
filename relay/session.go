package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/decoder"
)

// What stops a session that is not broken.
var (
	errLeave    = errors.New("walpost is leaving")
	errRefused  = errors.New("an event was refused")
	errEnded    = errors.New("the server ended the stream")
	errStopping = errors.New("the server is shutting down")
)

// drainLimit bounds how long a session waits for the server to end the stream, after the relay has.
const drainLimit = 3 * time.Second

// session is one stream of the slot, from START_REPLICATION to the end of the connection. Its methods are the reader's.
type session struct {
	relay     *Relay
	flight    *flight
	sink      Sink
	stream    *stream
	decoder   *decoder.Decoder
	confirmer *confirmer
	history   history
	addr      net.Addr // of the server
	recorder  recorder
	recording func() // stops the recorder's goroutine

	pass     pass
	timeline uint32 // of the open transaction
	pings    pingStorm
	fresh    atomic.Bool // the window is this session's: until then nothing may be confirmed
	leaveBy  time.Time   // when the relay stops waiting for anything; zero: it is not leaving
}

// openSession takes the slot.
func (r *Relay) openSession(ctx context.Context, db *database, p *ready) (*session, error) {
	w, err := dialWalsender(ctx, r.cfg.ConnString, r.names, r.log)
	if err != nil {
		return nil, r.judge(err, connecting)
	}
	srv, err := w.identify(ctx)
	if err != nil {
		w.close()
		return nil, r.judge(err, preparing)
	}
	addr := w.conn.Conn().RemoteAddr()
	stream, err := w.start(ctx, r.cfg.Slot, r.cfg.Publication, p.binary)
	if err != nil {
		return nil, r.judge(err, starting)
	}
	s := &session{
		relay: r, flight: r.flight, sink: r.sink, stream: stream, history: srv.history, addr: addr,
		decoder:  decoder.New(r.cfg.Table, r.cfg.Mapping),
		recorder: recorder{slot: r.cfg.Slot, open: func(ctx context.Context) (*database, error) { return dialDatabase(ctx, r.cfg.ConnString) }},
	}
	if err := s.claim(ctx, db, &srv, p); err != nil {
		stream.conn.Close()
		return nil, err
	}
	s.confirmer = newConfirmer(stream, s.position, r.flight.progress, srv.statusPeriod(), s.told)
	return s, nil
}

// claim records that the slot is this relay's now. It is done with the slot in hand, so no other relay can write at the same time.
func (s *session) claim(ctx context.Context, db *database, srv *server, p *ready) error {
	r := s.relay
	state, err := readState(ctx, db, r.cfg.Slot)
	if err != nil {
		return err
	}
	if state != nil && state.systemID != "" && state.systemID != srv.systemID {
		return permanent(fmt.Errorf("the server's system identifier is %s, and slot %s was streamed from %s: this is another server", srv.systemID, r.cfg.Slot, state.systemID),
			"connect to the right one; or publish what is missing from %s and run: DELETE FROM walpost.relay_state WHERE slot = '%s'", r.cfg.Table, r.cfg.Slot)
	}
	return writePhase(ctx, db, r.cfg.Slot, phaseStreaming, srv, p.table.OID)
}

// position is what may be confirmed in this session.
func (s *session) position() pglogrepl.LSN {
	if !s.fresh.Load() {
		return 0
	}
	lsn, _ := s.flight.confirmed()
	return lsn
}

// told notes a confirmation.
func (s *session) told(lsn pglogrepl.LSN) {
	s.relay.metrics.confirmed.Store(uint64(lsn))
	s.relay.metrics.lastConfirm.set(time.Now())
}

// run streams until ctx is done or something ends the session.
func (s *session) run(ctx context.Context) error {
	r := s.relay
	r.metrics.connected.Set(1)
	r.metrics.leader.Set(1)
	r.metrics.serverEnd.Store(0)
	r.metrics.confirmed.Store(0)
	r.status.lead(true)
	r.log.Info("streaming", "slot", r.cfg.Slot, "timeline", s.history.current)

	stop := context.AfterFunc(ctx, func() { s.stream.interrupt(errLeave) })
	defer stop()
	side, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	others.Go(s.confirmer.run)
	others.Go(func() { s.probe(side) })
	s.record(side)
	defer s.recording()

	err := s.startAfresh()
	if err == nil {
		err = s.read()
	}
	return s.conclude(err)
}

// record starts the recorder.
func (s *session) record(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	s.recording = func() { cancel(); <-ended }
	go func() {
		defer close(ended)
		s.recorder.run(ctx, s.flight.confirmed, func(err error) { s.relay.log.Warn("state is not up to date", "reason", err) })
	}()
}

// startAfresh waits until the sink holds nothing of an older session, so that nothing of it can land behind what is read now, and begins
// with an empty window.
func (s *session) startAfresh() error {
	if err := s.await(func() bool { return s.flight.drained() || s.refused() }); err != nil {
		return err
	}
	if s.refused() {
		return errRefused
	}
	s.flight.restart(func() { s.stream.interrupt(errRefused) })
	s.fresh.Store(true)
	return nil
}

// read is the pipe: bytes → change → window and sink, one read's worth at a time.
func (s *session) read() error {
	for {
		m, err := s.stream.next()
		if err != nil {
			return s.broken(err)
		}
		switch m.kind {
		case incomplete:
			s.handOver()
			err = s.fill()
		case xlogData:
			err = s.take(m.data)
		case keepalive:
			err = s.heed(m)
		case ended:
			err = errEnded
		}
		if err != nil {
			return err
		}
	}
}

// broken judges an error of the stream's. A fault came as a notice, in a stream that lives: what precedes it can still be confirmed.
func (s *session) broken(err error) error {
	var lost *fault
	if errors.As(err, &lost) {
		s.flight.Rejected(s.atHand(), err)
		return errRefused
	}
	return s.relay.judge(err, streaming)
}

// take decodes one message and does what it says.
func (s *session) take(msg []byte) error {
	change, err := s.decoder.Decode(msg)
	if err != nil {
		s.flight.Rejected(s.atHand(), err)
		return errRefused
	}
	switch c := change.(type) {
	case *decoder.Begin:
		s.pass.begin(c.CommitTime)
		s.timeline = s.history.owner(c.FinalLSN)
	case *decoder.Insert:
		return s.publish(c, len(msg))
	case *decoder.Commit:
		s.pass.seal(c.EndLSN)
		if !s.leaveBy.IsZero() {
			return errLeave
		}
	case *decoder.Relation:
		if c.Err != nil { // a row in this shape would stop the relay: somebody may still alter it back
			s.relay.log.Warn("the outbox's columns no longer fit", "reason", c.Err)
		}
	}
	return nil
}

// publish hands one event to the sink, when the budget lets it.
func (s *session) publish(c *decoder.Insert, size int) error {
	if err := s.admit(size); err != nil {
		return err
	}
	tx := s.pass.add()
	c.Event.Position.Timeline = s.timeline
	bytes, err := s.sink.Publish(c.Event, tx)
	if err != nil {
		s.flight.Rejected(tx, err)
		return errRefused
	}
	s.flight.budget.take(bytes)
	return nil
}

// atHand returns the number of the transaction that is being read, or else of the next one.
func (s *session) atHand() uint64 {
	if s.pass.inside {
		return s.pass.next - 1
	}
	return s.pass.next
}

// handOver makes the window know the pass, then lets the sink go. An ack may come at once.
func (s *session) handOver() {
	if len(s.pass.txs) == 0 {
		return
	}
	events, transactions := s.flight.handOver(&s.pass)
	m := s.relay.metrics
	m.transactions.Add(float64(transactions))
	if events > 0 {
		m.events.Add(float64(events))
		m.lastEvent.set(time.Now())
		s.sink.Flush()
	}
}

// fill reads from the server.
func (s *session) fill() error {
	err := s.stream.fill()
	s.confirmer.hear()
	return s.finishFirst(err)
}

// admit waits until the budget has room for an event of that size. Everything that was published is with the sink meanwhile: only acks
// make room.
func (s *session) admit(size int) error {
	if s.flight.budget.admits(size) {
		return nil
	}
	s.handOver()
	s.confirmer.hold(true)
	defer s.confirmer.hold(false)
	for !s.flight.budget.admits(size) {
		if err := s.finishFirst(s.sleep(s.flight.budget.freed)); err != nil {
			return err
		}
	}
	return nil
}

// finishFirst turns the wish to leave, when it comes inside a transaction, into a deadline for the rest of it: a transaction that was
// published by half would be published again from its beginning.
func (s *session) finishFirst(err error) error {
	if !errors.Is(err, errLeave) || !s.pass.inside || !s.leaveBy.IsZero() {
		return err
	}
	s.leaveBy = time.Now().Add(s.relay.cfg.ShutdownTimeout)
	return s.stream.resume(s.leaveBy)
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
	case <-s.stream.woken:
		return s.stream.interrupted()
	case <-late:
		return errTooLate
	}
}

// heed takes a keepalive: how far the server is, and whether it wants an answer.
func (s *session) heed(m message) error {
	s.handOver()
	s.flight.idle(m.walEnd)
	s.relay.metrics.serverEnd.Store(uint64(m.walEnd))
	if !m.reply {
		return nil
	}
	signal(s.confirmer.pings)
	if s.pings.stopping(time.Now(), m.walEnd) {
		return errStopping
	}
	return nil
}

// pingStorm recognises a server that is shutting down: it waits until everything it has sent is confirmed and asks for that again at each
// answer. In an outage of Kafka's that would last for ever, and the server's shutdown with it.
type pingStorm struct {
	walEnd      pglogrepl.LSN
	count       int
	first, last time.Time
}

// stopping counts a request and tells whether the storm has lasted too long.
func (p *pingStorm) stopping(now time.Time, walEnd pglogrepl.LSN) bool {
	if walEnd != p.walEnd || now.Sub(p.last) > time.Second {
		*p = pingStorm{walEnd: walEnd, first: now}
	}
	p.last = now
	p.count++
	return p.count >= 10 && now.Sub(p.first) >= 4*time.Second
}
