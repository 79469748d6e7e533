package relay

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"walpost/relay/deadletter"
	"walpost/relay/internal/wake"
	"walpost/relay/postgres"
)

const (
	watchEvery = 10 * time.Second
	checkLimit = 5 * time.Second // for one check, including the time to connect
	blindAfter = 3               // it warns after so many failed checks in a row
)

// watcher checks what the stream does not show: whether the slot keeps more and more WAL, and whether rows no longer reach the slot,
// because the table is not published any more or is another table. It checks as long as the relay runs, also while the relay waits. It
// opens a connection for each check, because an open connection would hold up a smart shutdown.
type watcher struct {
	relay        *Relay
	every        time.Duration
	wake         chan struct{}               // has a token when a check is due at once
	check        func(context.Context) error // look, unless a test wraps it
	loginAllowed atomic.Bool                 // the server has let this process in; until then the watcher does not try to log in

	mu      sync.Mutex
	session *session         // the session that holds the slot; nil: there is none
	last    *postgres.Outbox // what the last successful check found, in this or an earlier session; nil: there was none

	pressure postgres.Pressure // as last logged; only the watcher's goroutine uses it
}

func newWatcher(r *Relay) *watcher {
	w := &watcher{relay: r, every: watchEvery, wake: make(chan struct{}, 1)}
	w.check = w.look
	return w
}

// start starts the watcher's goroutine, and returns a function that stops it and waits for it.
func (w *watcher) start(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx, w.check)
	}()
	return func() { cancel(); <-ended }
}

// run checks at intervals until ctx is done. A check that fails changes nothing: the relay itself finds out what is wrong with Postgres.
// But the stream may go on while all checks fail. Then nobody notices that rows reach no slot, so run logs a warning once.
func (w *watcher) run(ctx context.Context, look func(context.Context) error) {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	failed := 0 // checks in a row
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.wake:
		}
		err := look(ctx)
		w.noteParked(ctx)
		if ctx.Err() != nil {
			return
		}
		failed = w.count(err, failed)
	}
}

// noteParked reads since when the first parked event waits. It has a connection of its own, because somebody may lock the table, which must
// not make the other checks fail. Errors do not matter: the parker says what is wrong with the table.
func (w *watcher) noteParked(ctx context.Context) {
	r := w.relay
	if r.parked().Events == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	db, err := postgres.Connect(ctx, r.cfg.CurrentConnString())
	if err != nil {
		return
	}
	defer db.Close()
	if since, err := deadletter.Oldest(ctx, db.Conn, r.cfg.Slot); err == nil {
		r.state.seeParked(since)
	}
}

// count counts one check, and returns how many checks in a row have failed. before is how many had failed before this one.
func (w *watcher) count(err error, before int) (failed int) {
	r := w.relay
	if err == nil {
		if before >= blindAfter {
			r.log.Info("the checks of slot, outbox and publication succeed again", "failed_looks", before)
		}
		return 0
	}
	r.metrics.watchFailures.Inc()
	failed = before + 1
	if failed == blindAfter {
		r.log.Warn("could not check slot, outbox and publication: while the checks fail, rows that reach no slot go unnoticed", "looks", failed, "err", err)
	} else {
		r.log.Debug("could not check slot, outbox and publication", "looks", failed, "err", err)
	}
	return failed
}

// allowLogin notes that the server lets this process in, and makes the first check due at once.
func (w *watcher) allowLogin() {
	if !w.loginAllowed.Swap(true) {
		wake.Signal(w.wake)
	}
}

// watch makes s the session that is watched, and makes a check due at once; nil: there is no session any more.
func (w *watcher) watch(s *session) {
	w.mu.Lock()
	w.session = s
	w.mu.Unlock()
	if s != nil {
		wake.Signal(w.wake)
	}
}

// remember keeps what a check found, for the next session.
func (w *watcher) remember(g *postgres.Outbox) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := *g
	w.last = &kept
}

// baseline returns the state that a session's first check is compared with. It is the state that the last check of the previous session
// found. So changes between two sessions are noticed. If there was no check yet, it is found, the state at the session's beginning.
func (w *watcher) baseline(found postgres.Outbox) postgres.Outbox {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil || w.last.Table != found.Table {
		w.last = &found
	}
	return *w.last
}

func (w *watcher) watched() *session {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.session
}

// stop stops session s with err, unless it has ended.
func (w *watcher) stop(s *session, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.session == s {
		s.stopFor(err)
	}
}

// look checks slot, table and publication once, and stops the session if it may not go on.
func (w *watcher) look(ctx context.Context) error {
	r := w.relay
	if !w.loginAllowed.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	s := w.watched()
	var addr net.Addr // of the server that the session streams from
	if s != nil {
		addr = s.addr
	}
	db, err := postgres.ConnectTo(ctx, r.cfg.CurrentConnString(), addr)
	if err != nil {
		return err
	}
	defer db.Close()
	slot, err := r.source.ReadSlot(ctx, db)
	if err != nil {
		return err
	}
	r.state.see(slot.State())
	w.warnOfPressure(slot)
	if err := r.logReadOnly(ctx, db); err != nil {
		return err
	}
	if s == nil {
		return nil // the rest is checked before each session
	}
	if slot != nil && slot.Lost {
		w.stop(s, r.source.LostSlot(slot))
		return nil
	}
	if slot == nil || !slot.Active { // the session has just ended, or another server has taken over the address
		return fmt.Errorf("nobody streams from slot %s on the server at %v", r.cfg.Slot, addr)
	}
	w.noteStandbys(slot)
	// The catalog is not read in one snapshot, so a check may see an unfinished change. A fault counts only if a second check finds the
	// same.
	for said := ""; ; {
		g, err := r.source.ReadOutbox(ctx, db, s.outbox.Table)
		if err != nil {
			return err
		}
		g.Seen = slot.Seen
		err = w.compare(ctx, db, s, g)
		if err == nil {
			return nil
		}
		if err.Error() == said {
			w.stop(s, err)
			return nil
		}
		said = err.Error()
	}
}
