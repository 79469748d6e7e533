package relay

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/relay/replication"
	"walpost/relay/tail"
	"walpost/schema"
)

// paper is a printer that keeps ids.
type paper struct {
	mu      sync.Mutex
	pending []string
	ids     []string
	refuse  string        // the type of events that could not be published
	jam     chan struct{} // not nil: Flush with something to print waits for it
	jammed  chan struct{} // closed when it does
	torn    error         // what Flush says when it has something to print
}

func (p *paper) Print(ev *schema.Event) error {
	if kind := string(ev.Values[schema.Type]); kind == p.refuse {
		return errors.New("of type " + kind)
	}
	if ev.Position.Timeline != 1 {
		return errors.New("without a timeline")
	}
	p.pending = append(p.pending, string(ev.Values[schema.ID]))
	return nil
}

func (p *paper) Flush() error {
	if p.jam != nil && len(p.pending) > 0 {
		close(p.jammed)
		<-p.jam
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pending) > 0 && p.torn != nil {
		return p.torn
	}
	p.ids = append(p.ids, p.pending...)
	p.pending = nil
	return nil
}

func (p *paper) printed() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.ids)
}

// tail starts a tail and waits until it streams.
func (f *fixture) tail(p *paper) (end context.CancelFunc, ended chan error) {
	f.T.Helper()
	f.Logs = dbtest.NewLogs(f.T)
	f.cfg.Logger = f.Logs.Logger()
	ctx, cancel := context.WithCancel(context.Background())
	ended = make(chan error, 1)
	done := make(chan struct{})
	go func() { ended <- tail.Run(ctx, f.cfg.Config, p); close(done) }()
	f.T.Cleanup(func() { cancel(); <-done })
	dbtest.Until(f.T, "the tail streams", func() bool {
		select {
		case err := <-ended:
			f.T.Fatalf("the tail ended: %v", err)
		default:
		}
		return f.Logs.Has("printing what is committed")
	})
	return cancel, ended
}

// finish waits for the end of a tail.
func finish(t *testing.T, ended <-chan error, limit time.Duration) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(limit):
		t.Fatalf("the tail has not ended after %v", limit)
		return nil
	}
}

// TestTail: what is committed from now on is printed and confirmed, with nothing in the database but the table and its publication, and
// nothing is left behind.
func TestTail(t *testing.T) {
	for _, major := range []int{0, 14} {
		f := fixtureOn(t, pgtest.NewMajor(t, major).DSN)
		f.Exec("create table public.events (like walpost.outbox including defaults)")
		f.Exec("drop publication walpost")
		f.Exec("drop schema walpost cascade")
		f.cfg.Table, f.cfg.Slot = schema.Table{Schema: "public", Name: "events"}, ""
		insert := func(kind string) (id string) {
			err := f.Conn.QueryRow(t.Context(), "insert into public.events (aggregatetype, type) values ('order', $1) returning id::text", kind).Scan(&id)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		insert("before")
		err := tail.Run(t.Context(), f.cfg.Config, &paper{})
		if err == nil || !strings.Contains(err.Error(), "create publication walpost for table public.events") {
			t.Fatalf("without a publication: %v", err)
		}
		f.Exec("create publication walpost for table public.events")
		p := &paper{refuse: "bad"}
		end, ended := f.tail(p)
		want := []string{insert("placed")}
		f.Exec("begin")
		insert("undone")
		f.Exec("rollback")
		insert("bad")
		want = append(want, insert("paid"))
		dbtest.Until(t, "2 events", func() bool { return len(p.printed()) >= 2 })
		if !f.Logs.Has("of type bad") {
			t.Error("a bad event was not told")
		}
		// Also what never becomes an event is not kept for the slot.
		f.Exec("create table busy as select n, repeat('x', 200) from generate_series(1, 20000) n")
		written := f.LSN("select pg_current_wal_flush_lsn()")
		dbtest.Until(t, "the temporary slot follows", func() bool {
			return f.LSN("select confirmed_flush_lsn from pg_replication_slots where temporary and database = current_database()") >= written
		})
		end()
		if err := finish(t, ended, 10*time.Second); err != nil {
			t.Errorf("ended with %v", err)
		}
		if n := f.Slots(); n != 0 {
			t.Errorf("%d slots are left", n)
		}
		if got := p.printed(); !slices.Equal(got, want) {
			t.Errorf("printed %q, want %q", got, want)
		}
	}
}

// TestTailBesideRelay: a tail does not move the slot that a relay streams from, nor take anything from it.
func TestTailBesideRelay(t *testing.T) {
	f := newFixture(t)
	f.sink.setAuto(false)
	r := f.start()
	p := &paper{}
	end, ended := f.tail(p)
	f.Insert(3)
	dbtest.Until(t, "3 events twice", func() bool { return f.sink.count() == 3 && len(p.printed()) == 3 })
	commit := f.commitOf(0)
	dbtest.Until(t, "the tail confirms", func() bool {
		return f.LSN("select confirmed_flush_lsn from pg_replication_slots where temporary and database = current_database()") > commit
	})
	if got := f.Confirmed(); got > commit {
		t.Errorf("the relay's slot stands at %v, beyond unacked events at %v", got, commit)
	}
	end()
	if err := finish(t, ended, 10*time.Second); err != nil {
		t.Errorf("ended with %v", err)
	}
	f.sink.ack(3)
	r.stop()
}

// TestTailOutput: an output that fails or is stuck ends nothing but the tail.
func TestTailOutput(t *testing.T) {
	f := newFixture(t)
	torn := errors.New("torn")
	_, ended := f.tail(&paper{torn: torn})
	f.Insert(1)
	if err := finish(t, ended, 10*time.Second); !errors.Is(err, torn) {
		t.Errorf("a torn output: %v", err)
	}
	p := &paper{jam: make(chan struct{}), jammed: make(chan struct{})}
	defer close(p.jam)
	end, ended := f.tail(p)
	f.Insert(1)
	<-p.jammed
	end()
	if err := finish(t, ended, 10*time.Second); err != nil {
		t.Errorf("a stuck output: %v", err)
	}
	dbtest.Until(t, "the slot is gone", func() bool { return f.Slots() == 0 })
}

// TestTailServerStops: a server that shuts down is not held up, whether the tail listens or its output is stuck.
func TestTailServerStops(t *testing.T) {
	for name, jam := range map[string]bool{"listening": false, "stuck": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t, pgtest.Options{})
			f := fixtureOn(t, server.DSN("postgres"))
			p := &paper{}
			if jam {
				p.jam, p.jammed = make(chan struct{}), make(chan struct{})
				defer close(p.jam)
			}
			_, ended := f.tail(p)
			f.Insert(1)
			if jam {
				<-p.jammed
				// More than fits into the buffers between, so that the server has something to wait for.
				f.Exec(`insert into walpost.outbox (aggregatetype, type, payload) select 'order', 'big', to_jsonb(repeat('x', 100000)) from generate_series(1, 200)`)
			}
			begun := time.Now()
			if err := server.Stop(t.Context(), pgtest.Fast); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("the server needed %v", took)
			}
			err := finish(t, ended, 10*time.Second)
			if err == nil || !errors.Is(err, replication.ErrEnded) && !errors.Is(err, replication.ErrStopping) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}
