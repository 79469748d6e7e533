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

// Printer shows events to people. Its methods are called from one goroutine.
type Printer interface {
	// Print takes one event, a view that is valid until Print returns. An error says that it could never be published: that is logged,
	// and the next one follows.
	Print(ev *schema.Event) error

	// Flush writes out what was printed. An error ends the tail.
	Flush() error
}

// Run prints the events that are committed from now on, in the order of their commits, until ctx is done, and then returns nil. Any
// other end is an error: nothing is tried again, for what was committed meanwhile would be missing. Of cfg it needs ConnString,
// Publication, Table, Mapping and Logger.
//
// It streams from a temporary slot of its own, which Postgres drops with the connection, so it needs no schema walpost, writes nothing and
// moves no other slot. What was printed is confirmed, so that the slot keeps no WAL; an output that takes nothing for a minute ends the
// tail for the same reason, and a server that wants to shut down does not wait for it. In both cases, and when ctx is done while the output
// is stuck, a goroutine stays behind in the printer.
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
	whole    pglogrepl.LSN // what was received is whole up to here; the reader's
	broken   bool          // the connection is not what it was
	shutdown replication.ShutdownDetector

	printed  atomic.Uint64 // what was written out up to here: printed ≤ whole. It may be confirmed
	progress chan struct{} // has a token when printed moved
	busy     atomic.Int64  // since when the reader has had something to print, ns since 1970; 0: it listens to the server
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

// noteKept logs that the walsender says nothing and is kept all the same; "": it has spoken again.
func (t *tail) noteKept(why string) {
	if why != "" {
		t.Logger.Warn(why)
	}
}

const (
	outputTimeout = time.Minute // how long an output may take nothing
	leaveTimeout  = time.Second // the same when the tail is to end
)

// await waits for the reader, unless its output is stuck. The confirmer ends with the connection, which whoever called closes.
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
			if t.busy.Load() != 0 { // else it is taking its leave of the server
				return replication.ErrLeave
			}
		case <-tick.C:
			if err := t.stuck(ctx); err != nil {
				return err
			}
		}
	}
}

// stuck looks whether somebody waits for the output: the server whose shutdown waits until everything is sent, or all who need the disk
// that the slot keeps WAL on.
func (t *tail) stuck(ctx context.Context) error {
	since := t.busy.Load()
	if since == 0 {
		return nil
	}
	waited := time.Since(time.Unix(0, since))
	if waited > outputTimeout {
		return fmt.Errorf("the output has taken nothing for %v, and the server keeps WAL meanwhile: start walpost tail again when it is read", waited.Round(time.Second))
	}
	if waited < postgres.ProbeEvery {
		return nil
	}
	if postgres.ServerStopping(ctx, t.CurrentConnString(), t.addr) && t.busy.Load() == since {
		return replication.ErrStopping
	}
	return nil
}

// read is the pipe: bytes → change → line, one read's worth at a time.
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
			t.Logger.Error("an event that could not be published", "reason", pgerror.Reason(err), "err", err)
		}
	case *decoder.Commit:
		t.inside = false
		t.whole = max(t.whole, c.EndLSN)
	case *decoder.Relation:
		if c.Err != nil { // a row in this shape would end this
			t.Logger.Warn("the outbox's columns no longer fit", "err", c.Err)
		}
	}
	return nil
}

// keepalive acts on a keepalive.
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

// flush writes out what was printed, which may be confirmed then.
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

// fill reads from the server. Until it returns, the output is not what the reader waits for.
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

// ending classifies an error of the stream's.
func (t *tail) ending(err error) error {
	var lost *pgerror.Fault
	switch {
	case errors.Is(err, replication.ErrLeave):
		return err
	case errors.As(err, &lost), pgerror.IsSQLState(err, "42704"): // that something was lost comes as a notice since 18, before as an error
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

// conclude ends the stream in a way that the server drops the slot at once, where it can still be told.
func (t *tail) conclude(err error) error {
	t.busy.Store(0) // from here on every step is bounded
	if t.confirmer.End(!t.broken); t.broken {
		return err
	}
	t.stream.Terminate(time.Now().Add(replication.DrainLimit))
	for by := time.Now().Add(time.Second); t.stream.Drain(by) == nil; {
		// A server says twice that the stream has ended. It closes the connection when its process is gone, and the slot with it.
	}
	return err
}
