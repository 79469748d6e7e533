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
	"walpost/internal/reason"
	"walpost/relay/inflight"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
	"walpost/schema"
)

// Why a session stops that is not broken, besides the reasons in package replication.
var (
	errRefused = errors.New("an event was refused")
	errStopped = errors.New("the session may not go on") // stopReason says why
)

// session is one stream of the slot, from START_REPLICATION to the end of the connection. The reader calls its methods.
type session struct {
	relay     *Relay
	tracker   *inflight.Tracker
	sink      Sink
	stream    *replication.Stream
	decoder   *decoder.Decoder
	confirmer *replication.Confirmer
	silence   replication.Silence
	history   replication.History
	addr      net.Addr // of the server
	recorder  *postgres.Recorder
	recording func() // stops the recorder's goroutine and waits for it

	pass         inflight.Pass
	trace        *passTrace    // nil: no trace is recorded
	timeline     uint32        // of the open transaction
	holder       string        // the word of this session in walpost.relay_state
	resumed      pglogrepl.LSN // from where the slot sends again
	shutdown     replication.ShutdownDetector
	columns      string                // the names of the outbox's columns, as the stream last announced them
	outbox       postgres.Outbox       // as last seen; belongs to the watcher
	stopReason   atomic.Pointer[error] // why the session may not go on; the watcher sets it
	streamFailed bool                  // the server has ended the stream with an error, so nothing can be confirmed any more
	windowBegun  atomic.Bool           // the window belongs to this session; until then nothing may be confirmed
	leaving      context.Context       // done when the relay is to stop
	leaveBy      time.Time             // when the stopping relay waits no longer; zero: it is not stopping
}

// openSession starts replication, and so takes the slot.
func (r *Relay) openSession(ctx context.Context, db *postgres.DB, p *postgres.Found) (*session, error) {
	w, srv, err := r.connectWalsender(ctx)
	if err != nil {
		return nil, err
	}
	r.previous = srv.WalsenderID(w)
	addr := w.RemoteAddr()
	stream, err := w.Start(ctx, r.cfg.Slot, r.cfg.Publication, p.Binary)
	if err != nil {
		return nil, r.source.Classify(err, pgerror.Starting)
	}
	s := &session{
		relay: r, tracker: r.tracker, sink: r.sink, stream: stream, history: srv.History, addr: addr,
		decoder: decoder.New(r.cfg.Table, r.cfg.Mapping),
		resumed: resumedAt(p.Slot),
		outbox:  r.watcher.baseline(postgres.Outbox{Table: p.Table.OID, Publication: p.Publication, Seen: p.Slot.Seen}),
		recorder: postgres.NewRecorder(r.cfg.Slot, func(ctx context.Context) (*postgres.DB, error) {
			return postgres.Connect(ctx, r.cfg.CurrentConnString())
		}),
	}
	s.trace = newPassTrace(r.cfg.Trace)
	s.decoder.Follow(p.Table.OID, p.Places, p.At)
	if err := s.claim(ctx, db, &srv, p); err != nil {
		stream.Close()
		return nil, r.source.Classify(err, pgerror.Recording)
	}
	s.confirmer = replication.NewConfirmer(stream, s.position, r.tracker.Progress, srv.StatusPeriod(r.cfg.SilenceLimit()), s.noteConfirmed)
	s.silence = replication.Silence{Limit: r.cfg.SilenceLimit(), Activity: replication.ActivityAt(r.cfg.CurrentConnString, addr, r.previous), Kept: s.noteKept}
	return s, nil
}

// connectWalsender opens a replication connection to the primary.
func (r *Relay) connectWalsender(ctx context.Context) (w *replication.Walsender, srv replication.Server, err error) {
	w, err = replication.Connect(ctx, r.cfg.CurrentConnString(), r.source.Names, r.log)
	if err != nil {
		return nil, srv, r.source.Classify(err, pgerror.Connecting)
	}
	if srv, err = w.Identify(ctx); err != nil {
		w.Close()
		return nil, srv, r.source.Classify(err, pgerror.Identifying)
	}
	r.source.Replicated = true
	return w, srv, nil
}

// claim records that this relay has the slot now. Because it has the slot, no other relay can write the record at the same time.
func (s *session) claim(ctx context.Context, db *postgres.DB, srv *replication.Server, p *postgres.Found) error {
	r := s.relay
	state, err := postgres.ReadState(ctx, db, r.cfg.Slot)
	if err != nil {
		return err
	}
	if state != nil && state.SystemID != "" && state.SystemID != srv.SystemID {
		return pgerror.Permanent(reason.AnotherServer, fmt.Errorf("the server's system identifier is %s, and slot %s was streamed from %s: this is another server", srv.SystemID, r.cfg.Slot, state.SystemID),
			"connect to the right one; after pg_upgrade, which gives the server a new identifier and keeps its slots since version 17, run: UPDATE walpost.relay_state SET system_id = '%s' WHERE slot = %s; "+
				"in any other case publish what is missing from %s and run: DELETE FROM walpost.relay_state WHERE slot = %[2]s", srv.SystemID, schema.QuoteLiteral(r.cfg.Slot), r.cfg.Table)
	}
	if state != nil && state.Table != 0 && state.Table != p.Table.OID {
		r.log.Warn("the outbox is not the table that was streamed before; rows committed before the new one was in the publication are in no slot",
			"table", r.cfg.Table.String(), "oid", p.Table.OID, "before", state.Table)
	}
	if err := postgres.WritePhase(ctx, db, r.cfg.Slot, postgres.PhaseStreaming, srv.Identity(), p.Table.OID); err != nil {
		return err
	}
	return s.hold(ctx, db)
}

// stopFor ends the session, and so the relay, with err. Events that were read are still acked and confirmed.
func (s *session) stopFor(err error) {
	if s.stopReason.CompareAndSwap(nil, &err) {
		s.relay.log.Error("walpost stops when the events in flight are acked and confirmed", "reason", pgerror.Reason(err), "err", err)
		s.stream.Interrupt(errStopped)
	}
}

// position returns what may be confirmed in this session.
func (s *session) position() pglogrepl.LSN {
	if !s.windowBegun.Load() {
		return 0
	}
	lsn, _ := s.tracker.Confirmed()
	return lsn
}

// noteConfirmed updates the metrics after a confirmation.
func (s *session) noteConfirmed(lsn pglogrepl.LSN) {
	s.relay.metrics.confirmed.Store(uint64(lsn))
	s.relay.metrics.lastConfirm.set(time.Now())
}

// noteKept shows that the walsender sends nothing, but that the session goes on because it works; why "" means that the walsender has sent
// something again.
func (s *session) noteKept(why string) {
	if why == "" {
		s.relay.state.set(Leader, "", "")
		s.relay.log.Info("the walsender sends again")
		return
	}
	s.relay.state.set(Leader, reason.WalsenderSilent, why)
	s.relay.log.Warn(why, "reason", reason.WalsenderSilent, "cause", "probably the decoding of a large transaction, such as REFRESH MATERIALIZED VIEW or an ALTER TABLE that rewrites the table")
}

// run streams until ctx is done or something ends the session.
func (s *session) run(ctx context.Context) error {
	r := s.relay
	r.metrics.connected.Set(1)
	r.metrics.leader.Set(1)
	r.metrics.serverEnd.Store(0)
	r.metrics.confirmed.Store(0)
	r.state.lead(true)
	r.log.Info("streaming", "slot", r.cfg.Slot, "timeline", s.history.Current)

	s.leaving = ctx
	stop := context.AfterFunc(ctx, func() { s.stream.Interrupt(replication.ErrLeave) })
	defer stop()
	side, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	others.Go(s.confirmer.Run)
	others.Go(func() { s.probe(side) })
	others.Go(func() { s.silence.Watch(side, s.confirmer) })
	s.record(side)
	defer s.recording()
	r.watcher.watch(s)
	defer r.watcher.watch(nil)

	defer s.letGo()

	err := s.beginWindow()
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
		s.recorder.Run(ctx, s.confirmedHere, func(err error) { s.relay.log.Warn("walpost.relay_state is not up to date", "err", err) })
	}()
}

// confirmedHere returns what tracker.Confirmed returns, once the window belongs to this session. An older window may have been emptied by acks
// that confirm nothing.
func (s *session) confirmedHere() (lsn pglogrepl.LSN, commit int64) {
	if !s.windowBegun.Load() {
		return 0, 0
	}
	return s.tracker.Confirmed()
}

// beginWindow waits until the sink holds no events of an older session: otherwise these could arrive after events that this session reads.
// Then it begins with an empty window.
func (s *session) beginWindow() error {
	if err := s.await(func() bool { return s.tracker.Drained() || s.refused() }); err != nil {
		return err
	}
	if s.refused() {
		return errRefused
	}
	s.tracker.Restart(func() { s.stream.Interrupt(errRefused) })
	s.windowBegun.Store(true)              // before loadParked: a stop that comes meanwhile is a clean one
	if err := s.loadParked(); err != nil { // after Restart: from now on, what the tracker has confirmed is of this session
		return err
	}
	s.trace.session()
	return nil
}
