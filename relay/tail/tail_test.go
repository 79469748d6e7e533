package tail

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
	"walpost/relay/postgres"
	"walpost/relay/replication"
	"walpost/schema"
)

// fakePrinter is a printer that keeps ids.
type fakePrinter struct {
	mu      sync.Mutex
	pending []string
	ids     []string
	refuse  string        // type of the events that cannot be published
	jam     chan struct{} // not nil: a Flush with printed events waits for it
	jammed  chan struct{} // closed when Flush waits
	torn    error         // error of a Flush with printed events
}

func (p *fakePrinter) Print(ev *schema.Event) error {
	if kind := string(ev.Values[schema.Type]); kind == p.refuse {
		return errors.New("of type " + kind)
	}
	if ev.Position.Timeline != 1 {
		return errors.New("without a timeline")
	}
	p.pending = append(p.pending, string(ev.Values[schema.ID]))
	return nil
}

func (p *fakePrinter) Flush() error {
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

func (p *fakePrinter) printed() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.ids)
}

// running is a running tail.
type running struct {
	t     *testing.T
	logs  *dbtest.Logs
	end   context.CancelFunc
	ended chan error
}

// start starts a tail and waits until it streams.
func start(t *testing.T, cfg postgres.Config, p Printer) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, logs: dbtest.NewLogs(t), end: cancel, ended: make(chan error, 1)}
	cfg.Logger = r.logs.Logger()
	done := make(chan struct{})
	go func() { r.ended <- Run(ctx, cfg, p); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	dbtest.Until(t, "the tail streams", func() bool {
		select {
		case err := <-r.ended:
			t.Fatalf("the tail ended: %v", err)
		default:
		}
		return r.logs.Has("printing what is committed")
	})
	return r
}

// wait waits for the end of the tail and returns its error.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(10 * time.Second):
		r.t.Fatal("the tail has not ended after 10s")
		return nil
	}
}

// TestTail: events that are committed from now on are printed and confirmed. The database needs only the table and its publication. No slot
// is left behind.
func TestTail(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		db := dbtest.On(t, pgtest.NewMajor(t, major).DSN)
		db.Exec("create table public.events (like walpost.outbox including defaults)")
		db.Exec("drop publication walpost")
		db.Exec("drop schema walpost cascade")
		cfg := db.Config()
		cfg.Table, cfg.Slot = schema.Table{Schema: "public", Name: "events"}, ""
		insert := func(kind string) (id string) {
			err := db.Conn.QueryRow(t.Context(), "insert into public.events (aggregatetype, type) values ('order', $1) returning id::text", kind).Scan(&id)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		insert("before")
		err := Run(t.Context(), cfg, &fakePrinter{})
		if err == nil || !strings.Contains(err.Error(), "create publication walpost for table public.events") {
			t.Fatalf("without a publication: %v", err)
		}
		db.Exec("create publication walpost for table public.events")
		p := &fakePrinter{refuse: "bad"}
		r := start(t, cfg, p)
		want := []string{insert("placed")}
		db.Exec("begin")
		insert("undone")
		db.Exec("rollback")
		insert("bad")
		want = append(want, insert("paid"))
		dbtest.Until(t, "2 events", func() bool { return len(p.printed()) >= 2 })
		if !r.logs.Has("of type bad") {
			t.Error("a bad event was not logged")
		}
		// The slot also does not keep WAL that has no events.
		db.Exec("create table busy as select n, repeat('x', 200) from generate_series(1, 20000) n")
		written := db.LSN("select pg_current_wal_flush_lsn()")
		dbtest.Until(t, "the temporary slot follows", func() bool {
			return db.LSN("select confirmed_flush_lsn from pg_replication_slots where temporary and database = current_database()") >= written
		})
		r.end()
		if err := r.wait(); err != nil {
			t.Errorf("ended with %v", err)
		}
		if n := db.Slots(); n != 0 {
			t.Errorf("%d slots are left", n)
		}
		if got := p.printed(); !slices.Equal(got, want) {
			t.Errorf("printed %q, want %q", got, want)
		}
	}
}

// TestTailOutput: an output that fails or is stuck ends only the tail.
func TestTailOutput(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	torn := errors.New("torn")
	r := start(t, db.Config(), &fakePrinter{torn: torn})
	db.Insert(1)
	if err := r.wait(); !errors.Is(err, torn) {
		t.Errorf("a torn output: %v", err)
	}
	p := &fakePrinter{jam: make(chan struct{}), jammed: make(chan struct{})}
	defer close(p.jam)
	r = start(t, db.Config(), p)
	db.Insert(1)
	<-p.jammed
	r.end()
	if err := r.wait(); err != nil {
		t.Errorf("a stuck output: %v", err)
	}
	dbtest.Until(t, "the slot is dropped", func() bool { return db.Slots() == 0 })
}

// TestTailServerStops: the tail does not hold up a server that shuts down, whether it reads or its output is stuck.
func TestTailServerStops(t *testing.T) {
	t.Parallel()
	for name, jam := range map[string]bool{"listening": false, "stuck": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t, pgtest.Options{})
			db := dbtest.On(t, server.DSN("postgres"))
			p := &fakePrinter{}
			if jam {
				p.jam, p.jammed = make(chan struct{}), make(chan struct{})
				defer close(p.jam)
			}
			r := start(t, db.Config(), p)
			db.Insert(1)
			if jam {
				<-p.jammed
				// More than the buffers hold, so that the server still has something to send.
				db.Exec(`insert into walpost.outbox (aggregatetype, type, payload) select 'order', 'big', to_jsonb(repeat('x', 100000)) from generate_series(1, 200)`)
			}
			begun := time.Now()
			if err := server.Stop(t.Context(), pgtest.Fast); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("the server needed %v", took)
			}
			err := r.wait()
			if err == nil || !errors.Is(err, replication.ErrEnded) && !errors.Is(err, replication.ErrStopping) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}
