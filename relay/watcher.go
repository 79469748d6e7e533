package relay

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"walpost/relay/internal/wake"
	"walpost/relay/postgres"
)

const (
	watchEvery = 10 * time.Second
	lookLimit  = 5 * time.Second // one look, connecting included
	blindAfter = 3               // so many looks in a row that fail are worth a warning
)

// watcher looks at what the stream does not tell: a slot that keeps more and more WAL, and rows that never reach the slot, because the table is
// no longer published or is another one. It looks for as long as the relay runs, whatever the relay waits for. It does not keep its
// connection: a client would hold up a smart shutdown.
type watcher struct {
	relay        *Relay
	every        time.Duration
	wake         chan struct{} // has a token when a look is due at once
	loginAllowed atomic.Bool   // this process was let in by the server: until then nobody tries a login here

	mu      sync.Mutex
	session *session         // holds the slot; nil: none does
	last    *postgres.Outbox // what the last look found, of whichever session, when all was well; nil: there was none

	pressure postgres.Pressure // as last told of; the watcher's goroutine only
}

func newWatcher(r *Relay) *watcher {
	return &watcher{relay: r, every: watchEvery, wake: make(chan struct{}, 1)}
}

// start lets the watcher look, and returns what ends it.
func (w *watcher) start(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx, w.look)
	}()
	return func() { cancel(); <-ended }
}

// run looks at intervals until ctx is done. A look that fails changes nothing: the relay itself finds out what is wrong with Postgres. But the
// stream may run on while all looks fail, and then what they are for goes unnoticed, so that is told once.
func (w *watcher) run(ctx context.Context, look func(context.Context) error) {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	failed := 0 // looks in a row
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.wake:
		}
		err := look(ctx)
		if ctx.Err() != nil {
			return
		}
		failed = w.count(err, failed)
	}
}

// count counts a look and returns how many in a row have failed, of which before had failed before it.
func (w *watcher) count(err error, before int) (failed int) {
	r := w.relay
	if err == nil {
		if before >= blindAfter {
			r.log.Info("slot, outbox and publication are looked at again", "failed_looks", before)
		}
		return 0
	}
	r.metrics.watchFailures.Inc()
	failed = before + 1
	if failed == blindAfter {
		r.log.Warn("could not look at slot, outbox and publication: while that lasts, rows that reach no slot go unnoticed", "looks", failed, "err", err)
	} else {
		r.log.Debug("could not look at slot, outbox and publication", "looks", failed, "err", err)
	}
	return failed
}

// allowLogin notes that the server lets this process in, and makes a first look due.
func (w *watcher) allowLogin() {
	if !w.loginAllowed.Swap(true) {
		wake.Signal(w.wake)
	}
}

// watch makes s the session that is watched, and makes a look due; nil: there is no session any more.
func (w *watcher) watch(s *session) {
	w.mu.Lock()
	w.session = s
	w.mu.Unlock()
	if s != nil {
		wake.Signal(w.wake)
	}
}

// remember keeps what a look found, for the next session.
func (w *watcher) remember(g *postgres.Outbox) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := *g
	w.last = &kept
}

// baseline returns what a session's first look is compared with: what the last look of the session before found, or else what this one found
// at its beginning. What happens between two sessions is noticed so.
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

// stop makes s stop with err, unless it has ended.
func (w *watcher) stop(s *session, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.session == s {
		s.stopFor(err)
	}
}

// look looks at slot, table and publication once, and stops the session if it may not go on.
func (w *watcher) look(ctx context.Context) error {
	r := w.relay
	if !w.loginAllowed.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
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
		return nil // the checks before each session see the rest
	}
	if slot != nil && slot.Lost {
		w.stop(s, r.source.LostSlot(slot))
		return nil
	}
	if slot == nil || !slot.Active { // the session has just ended, or another server has taken over its address
		return fmt.Errorf("slot %s is not streamed from on the server at %v", r.cfg.Slot, addr)
	}
	// The catalog is not read in one moment, so what is found in the middle of somebody's work counts when it is found a second time.
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
