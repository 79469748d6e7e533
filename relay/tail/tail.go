package tail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/decoder"
	"walpost/internal/reason"
	"walpost/relay/internal/wake"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
	"walpost/schema"
)

// Printer prints events for people. One goroutine calls its methods.
type Printer interface {
	// Print prints one event, a view that is valid until Print returns. An error means that the event could never be published. The tail
	// logs it and goes on.
	Print(ev *schema.Event) error

	// Flush writes out all printed events. An error ends the tail.
	Flush() error
}

// Run prints the events that are committed from now on, in the order of their commits. It returns nil when ctx is done, and an error if the
// stream ends before. It does not reconnect, because events that are committed meanwhile would be missing. Of cfg it needs ConnString,
// Publication, Table, Mapping and Logger.
//
// It streams from a temporary slot of its own, which Postgres drops when the connection ends. So it needs no schema walpost, writes nothing
// and moves no other slot. It confirms printed events, so that the slot does not keep WAL. For the same reason it ends if the output
// accepts nothing for a minute. If the output is stuck and the server shuts down, it ends, too, so that the server does not wait. In these
// two cases, and if ctx is done while the output is stuck, a goroutine remains blocked in the printer.
func Run(ctx context.Context, cfg postgres.Config, p Printer) error {
	t := &tail{Source: postgres.NewSource(cfg), printer: p, progress: make(chan struct{}, 1)}
	err := t.open(ctx)
	if err == nil {
		err = t.run(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// tail is one run of [Run].
type tail struct {
	*postgres.Source
	printer   Printer
	stream    *replication.Stream
	decoder   *decoder.Decoder
	confirmer *replication.Confirmer
	history   replication.History
	period    time.Duration // of statuses
	addr      net.Addr      // of the server
	walsender postgres.WalsenderID

	timeline uint32        // of the open transaction
	inside   bool          // a transaction is open
	whole    pglogrepl.LSN // all transactions before it were received completely; belongs to the reader
	broken   bool          // the connection cannot be ended properly any more
	shutdown replication.ShutdownDetector

	printed  atomic.Uint64 // everything before it was written out and may be confirmed: printed ≤ whole
	progress chan struct{} // has a token when printed has moved
	busy     atomic.Int64  // since when the reader has been busy printing, ns since 1970; 0: it waits for the server
}

// run prints until something ends the stream.
func (t *tail) run(ctx context.Context) error {
	defer t.stream.Close()
	stop := context.AfterFunc(ctx, func() { t.stream.Interrupt(replication.ErrLeave) })
	defer stop()
	go t.confirmer.Run()
	beside, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	silence := replication.Silence{Limit: t.SilenceLimit(), Activity: replication.ActivityAt(t.CurrentConnString, t.addr, t.walsender), Kept: t.noteKept}
	go silence.Watch(beside, t.confirmer)
	ended := make(chan error, 1)
	go func() { ended <- t.conclude(t.read()) }()
	return t.await(ctx, ended)
}

// noteKept logs that the walsender sends nothing, but that the tail goes on because it works. It does not log that the walsender sends
// again (why "").
func (t *tail) noteKept(why string) {
	if why != "" {
		t.Logger.Warn(why)
	}
}

const (
	outputTimeout = time.Minute // how long the output may accept nothing
	leaveTimeout  = time.Second // the same after ctx is done
)

// await waits for the reader, unless the output is stuck. The caller closes the connection, which also ends the confirmer.
func (t *tail) await(ctx context.Context, ended <-chan error) error {
	leaving, tick := ctx.Done(), time.NewTicker(postgres.ProbeEvery)
	defer tick.Stop()
	var late <-chan time.Time
	for {
		select {
		case err := <-ended:
			return err
		case <-leaving:
			leaving, late = nil, time.After(leaveTimeout)
		case <-late:
			if t.busy.Load() != 0 { // otherwise the reader is ending the stream
				return replication.ErrLeave
			}
		case <-tick.C:
			if err := t.stuck(ctx); err != nil {
				return err
			}
		}
	}
}

// stuck returns an error if the output is stuck for too long: for a minute, because the slot keeps WAL meanwhile, or while the server shuts
// down, which waits until everything is sent.
func (t *tail) stuck(ctx context.Context) error {
	since := t.busy.Load()
	if since == 0 {
		return nil
	}
	waited := time.Since(time.Unix(0, since))
	if waited > outputTimeout {
		return fmt.Errorf("the output has accepted nothing for %v, and the server keeps WAL meanwhile: start walpost tail again when something reads the output", waited.Round(time.Second))
	}
	if waited < postgres.ProbeEvery {
		return nil
	}
	if postgres.ServerStopping(ctx, t.CurrentConnString(), t.addr) && t.busy.Load() == since {
		return replication.ErrStopping
	}
	return nil
}

// read is the reader's loop: bytes → change → line. It flushes the output once per read of the connection.
func (t *tail) read() error {
	for {
		m, err := t.stream.Next()
		if err != nil {
			return t.ending(err)
		}
		switch m.Kind {
		case replication.Incomplete:
			if err = t.flush(); err == nil {
				err = t.fill()
			}
		case replication.XLogData:
			err = t.decode(m.Data)
		case replication.Keepalive:
			err = t.keepalive(m)
		case replication.Ended:
			err = replication.ErrEnded
		}
		if err != nil {
			return err
		}
	}
}

// decode decodes one message and prints it if it is an event.
func (t *tail) decode(msg []byte) error {
	change, err := t.decoder.Decode(msg)
	if err != nil {
		return err
	}
	switch c := change.(type) {
	case *decoder.Begin:
		t.inside, t.timeline = true, t.history.Owner(c.FinalLSN)
	case *decoder.Insert:
		c.Event.Position.Timeline = t.timeline
		if err := t.printer.Print(c.Event); err != nil {
			t.Logger.Error("this event cannot be published", "reason", pgerror.Reason(err), "err", err)
		}
	case *decoder.Commit:
		t.inside = false
		t.whole = max(t.whole, c.EndLSN)
	case *decoder.Relation:
		if c.Err != nil { // only a warning: a row with these columns ends the tail
			t.Logger.Warn("the outbox's columns no longer fit", "err", c.Err)
		}
	}
	return nil
}

// keepalive handles a keepalive, which has the position of the server and may ask for a status.
func (t *tail) keepalive(m replication.Message) error {
	if !t.inside {
		t.whole = max(t.whole, m.WALEnd)
	}
	if !m.Reply {
		return nil
	}
	t.confirmer.Ping()
	if t.shutdown.Ping(time.Now(), m.WALEnd) {
		return replication.ErrStopping
	}
	return nil
}

// flush writes out the printed events, which may be confirmed then.
func (t *tail) flush() error {
	if err := t.printer.Flush(); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	if uint64(t.whole) != t.printed.Load() {
		t.printed.Store(uint64(t.whole))
		wake.Signal(t.progress)
	}
	return nil
}

// fill reads from the server. Until it returns, the reader waits for the server and not for the output.
func (t *tail) fill() error {
	t.busy.Store(0)
	t.confirmer.Hold(false)
	err := t.stream.Fill()
	t.confirmer.Hold(true)
	t.busy.Store(time.Now().UnixNano())
	if err != nil {
		return t.ending(err)
	}
	return nil
}

// ending classifies an error of the stream.
func (t *tail) ending(err error) error {
	var lost *pgerror.Fault
	switch {
	case errors.Is(err, replication.ErrLeave):
		return err
	case errors.As(err, &lost), pgerror.IsSQLState(err, "42704"): // the missing publication is a notice since 18, and an error before
		t.broken = !errors.As(err, &lost)
		cause := err
		if lost != nil {
			cause = lost.Err
		}
		return pgerror.Permanent(reason.PublicationMissing, fmt.Errorf("publication %s was dropped: %w", schema.QuoteIdent(t.Publication), cause),
			"run: %s; then start walpost tail again", t.PublicationSQL())
	}
	t.broken = true
	return err
}

// conclude ends the stream, so that the server drops the slot at once. If the connection is broken, the server has to notice that itself.
func (t *tail) conclude(err error) error {
	t.busy.Store(0) // from here on every step has a time limit
	if t.confirmer.End(!t.broken); t.broken {
		return err
	}
	t.stream.Terminate(time.Now().Add(replication.DrainLimit))
	for by := time.Now().Add(time.Second); t.stream.Drain(by) == nil; {
		// A server reports the end of the stream twice. When it closes the connection, its process has ended and the slot is dropped.
	}
	return err
}
