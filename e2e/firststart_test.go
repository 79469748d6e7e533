package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
)

// firstStart is a first start that does not end: the database has rows, and half
// of them have no topic yet. The test has a server of its own, because the
// creation of a slot waits for every transaction of the server.
type firstStart struct {
	*pipe
	order, late string // topics
}

const oldRows = 40 // of each topic

func newFirstStart(t *testing.T, server *pgtest.Server, name string) *firstStart {
	t.Helper()
	if err := server.CreateDatabase(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	db := &pgtest.DB{Name: name, DSN: server.DSN(name), Major: server.Major()}
	f := &firstStart{pipe: pipeOn(t, db, kafkatest.Brokers(t)).withSchema(t)}
	f.order, f.late = f.topic(t, "order", 2, nil), f.prefix+".late"
	f.exec(t, "CREATE TABLE gone (id uuid)") // ids of rows that were committed and are no longer in the table
	f.insert(t, "old", oldRows)
	return f
}

// insert inserts rows for both topics in one transaction.
func (f *firstStart) insert(t testing.TB, kind string, n int) {
	t.Helper()
	f.exec(t, fmt.Sprintf(`INSERT INTO walpost.outbox (aggregatetype, aggregateid, type)
		SELECT a, 'k'||i %% 7, '%s' FROM generate_series(1, %d) i, unnest(ARRAY['order', 'late']) a`, kind, n))
}

// insertAndDelete commits rows that no snapshot shows.
func (f *firstStart) insertAndDelete(t testing.TB) {
	t.Helper()
	f.exec(t, "BEGIN", `WITH new AS (INSERT INTO walpost.outbox (aggregatetype, aggregateid, type)
		SELECT 'order', 'k'||i, 'brief' FROM generate_series(1, 5) i RETURNING id) INSERT INTO gone SELECT id FROM new`,
		"DELETE FROM walpost.outbox WHERE type = 'brief'", "COMMIT")
}

// hold keeps the relay from writing its state until it is released. It does not
// write, so the creation of a slot does not wait for it.
func (f *firstStart) hold(t testing.TB) (release func()) {
	t.Helper()
	holder := f.connect(t)
	execOn(t, holder, "BEGIN", "LOCK TABLE walpost.relay_state IN SHARE MODE")
	return func() { execOn(t, holder, "ROLLBACK") }
}

// write begins a transaction that writes: no slot is created before its end.
func (f *firstStart) write(t testing.TB) (end func()) {
	t.Helper()
	writer := f.connect(t)
	execOn(t, writer, "BEGIN", "SELECT pg_current_xact_id()")
	return func() { execOn(t, writer, "ROLLBACK") }
}

// awaitFact waits until a query returns true.
func awaitFact(t testing.TB, conn *pgx.Conn, what, sql string, args ...any) {
	t.Helper()
	eventually(t, what, func() string {
		if !ask[bool](t, conn, sql, args...) {
			return "not yet"
		}
		return ""
	})
}

// awaitHeld waits until the relay waits for the release of hold.
func (f *firstStart) awaitHeld(t testing.TB) {
	t.Helper()
	awaitFact(t, f.conn, "the relay waits to write its state", `SELECT EXISTS (SELECT FROM pg_locks
		WHERE relation = 'walpost.relay_state'::regclass AND mode = 'RowExclusiveLock' AND NOT granted)`)
}

// awaitCreation waits until the creation of the slot waits for a writer.
func (f *firstStart) awaitCreation(t testing.TB) {
	t.Helper()
	awaitFact(t, f.conn, "the slot waits for a transaction", `SELECT EXISTS (SELECT FROM pg_replication_slots s JOIN pg_locks l ON l.pid = s.active_pid
		WHERE slot_name = $1 AND confirmed_flush_lsn IS NULL AND locktype = 'transactionid' AND NOT granted)`, f.db.Name)
}

// phase returns the phase in relay_state, "" if there is none.
func (f *firstStart) phase(t testing.TB) string {
	t.Helper()
	return ask[string](t, f.conn, "SELECT coalesce((SELECT phase FROM walpost.relay_state WHERE slot = $1), '')", f.db.Name)
}

func (f *firstStart) slots(t testing.TB) int {
	t.Helper()
	return ask[int](t, f.conn, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1", f.db.Name)
}

// awaitHalf waits until the rows of one topic are acked and those of the other
// wait for their topic.
func (f *firstStart) awaitHalf(t testing.TB, r *relay) {
	t.Helper()
	r.awaitUnready(t, "rows of walpost.outbox are acked")
	r.awaitMetric(t, "walpost_backfill_rows_done_total", oldRows)
	r.awaitMetric(t, "walpost_inflight_events", oldRows)
}

// deaths are the moments at which a relay is killed. reach brings a relay to
// that moment, and returns a function that lets the next relay go on.
var deaths = []struct {
	name  string
	reach func(t *testing.T, f *firstStart) (r *relay, next func())
	state string
	slots int
}{
	{"locked", func(t *testing.T, f *firstStart) (*relay, func()) {
		release := f.hold(t)
		r := f.launch(t)
		f.awaitHeld(t)
		if !ask[bool](t, f.conn, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')") {
			t.Error("the first start is not locked")
		}
		return r, release
	}, "", 0},
	{"recorded", func(t *testing.T, f *firstStart) (*relay, func()) {
		end := f.write(t)
		r := f.launch(t)
		f.awaitCreation(t)
		return r, func() {
			f.awaitCreation(t) // of the next relay: that of the dead one is gone by now
			end()
		}
	}, "backfilling", 0},
	{"slot made", func(t *testing.T, f *firstStart) (*relay, func()) {
		end := f.write(t)
		r := f.launch(t)
		f.awaitCreation(t)
		release := f.hold(t)
		end()
		f.awaitHeld(t)
		return r, release
	}, "backfilling", 1},
	{"half-way", func(t *testing.T, f *firstStart) (*relay, func()) {
		r := f.launch(t)
		f.awaitHalf(t, r)
		return r, func() {}
	}, "backfilling", 1},
	{"all acked", func(t *testing.T, f *firstStart) (*relay, func()) {
		r := f.launch(t)
		f.awaitHalf(t, r)
		release := f.hold(t)
		kafkatest.Topic(t, f.brokers, f.late, 1, nil)
		f.awaitHeld(t)
		r.awaitMetric(t, "walpost_backfill_rows_done_total", 2*oldRows)
		return r, release
	}, "backfilling", 1},
}

// kill -9 at each point of a first start. The next relay finishes the start, and
// no row is lost: neither an old row, nor one that was committed meanwhile, nor,
// once the slot exists, one that was inserted and deleted in one transaction.
func TestFirstStartKilled(t *testing.T) {
	t.Parallel() // mostly waiting
	server := pgtest.Start(t, pgtest.Options{Major: pgtest.OldestMajor})
	for i, death := range deaths {
		t.Run(death.name, func(t *testing.T) {
			f := newFirstStart(t, server, fmt.Sprintf("death_%d", i))
			r, next := death.reach(t, f)
			r.kill()
			// Its pending write is cancelled, as if it had died a moment earlier.
			f.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'walpost.relay_state'::regclass AND NOT granted")
			// The server ends its work for the dead relay.
			eventually(t, "nothing is done for the dead relay", func() string {
				if state, slots := f.phase(t), f.slots(t); state != death.state || slots != death.slots {
					return fmt.Sprintf("state %q, %d slots", state, slots)
				}
				return ""
			})
			f.insert(t, "meanwhile", 5)
			if death.slots > 0 {
				f.insertAndDelete(t)
			}
			if death.name != "all acked" {
				kafkatest.Topic(t, f.brokers, f.late, 1, nil)
			}
			r = f.launch(t)
			next()
			r.awaitReady(t, "leader")
			f.insert(t, "after", 5)
			f.settle(t)
			r.stop(t)
			f.complete(t)
		})
	}
}

// complete checks that every committed row has arrived, and that rows that were
// committed after the first start arrived once.
func (f *firstStart) complete(t *testing.T) {
	t.Helper()
	committed := map[string]string{}
	rows, err := f.conn.Query(t.Context(), "SELECT id::text, type FROM walpost.outbox UNION ALL SELECT id::text, 'brief' FROM gone")
	if err != nil {
		t.Fatal(err)
	}
	var id, kind string
	if _, err := pgx.ForEachRow(rows, []any{&id, &kind}, func() error { committed[id] = kind; return nil }); err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for _, topic := range []string{f.order, f.late} {
		for _, record := range flat(f.read(t, topic)) {
			id := *headers(t, record)["id"]
			if times[id]++; committed[id] == "" {
				t.Errorf("event %s, which was not committed", id)
			}
		}
	}
	again := 0
	for id, kind := range committed {
		switch n := times[id]; {
		case n == 0:
			t.Errorf("event %s (%s) is lost", id, kind)
		case n > 1 && kind == "after":
			t.Errorf("event %s (%s) came %d times", id, kind, n)
		default:
			again += n - 1
		}
	}
	t.Logf("%d rows, %d sent again", len(committed), again)
}

// While a backfill waits for a topic, log, status and metrics show how far it
// is. Rows that are deleted meanwhile arrive too. A second relay stands by and
// publishes nothing: each row arrives once.
func TestFirstStartOfTwo(t *testing.T) {
	t.Parallel() // mostly waiting
	f := newFirstStart(t, pgtest.Start(t, pgtest.Options{}), "two")
	relays := []*relay{f.launch(t), f.launch(t)}
	role := func(r *relay) string {
		status, body, err := r.readiness()
		switch {
		case err != nil:
			return err.Error()
		case status == http.StatusOK:
			return body.Role
		}
		text, err := r.reason()
		if err != nil {
			return err.Error()
		}
		return text
	}
	const progress = "backfill: 40 of 80 rows"
	first := -1
	eventually(t, "one fills and the other stands by", func() string {
		a, b := role(relays[0]), role(relays[1])
		switch {
		case strings.HasPrefix(a, progress) && b == "standby":
			first = 0
		case strings.HasPrefix(b, progress) && a == "standby":
			first = 1
		default:
			return fmt.Sprintf("%q and %q", a, b)
		}
		return ""
	})
	filling, other := relays[first], relays[1-first]
	f.awaitHalf(t, filling)
	filling.awaitOutput(t, "backfill: progress", "rows_acked=40 rows=80 rows_per_second=")
	for name, want := range map[string]float64{
		`walpost_connected{target="postgres"}`: 1, "walpost_backfill_rows_total": 2 * oldRows, "walpost_leader": 0,
	} {
		if got := filling.metrics(t)[name]; got != want {
			t.Errorf("%s is %v during the backfill, want %v", name, got, want)
		}
	}
	f.exec(t, "WITH old AS (DELETE FROM walpost.outbox WHERE aggregateid = 'k1' RETURNING id) INSERT INTO gone SELECT id FROM old")
	f.insert(t, "after", 5)
	f.insertAndDelete(t)
	kafkatest.Topic(t, f.brokers, f.late, 1, nil)
	// Between the end of the backfill and the stream the slot is free: the first relay that takes it leads.
	eventually(t, "one leads and the other stands by", func() string {
		if a, b := role(filling), role(other); !(a == "leader" && b == "standby" || a == "standby" && b == "leader") {
			return fmt.Sprintf("%q and %q", a, b)
		}
		return ""
	})
	f.settle(t)
	if done := filling.metrics(t)["walpost_backfill_rows_done_total"]; done != 2*oldRows {
		t.Errorf("%v rows are done", done)
	}
	for _, r := range relays {
		r.stop(t)
	}
	f.complete(t)
	if n, want := len(flat(f.read(t, f.order)))+len(flat(f.read(t, f.late))), 2*oldRows+2*5+5; n != want {
		t.Errorf("%d records for %d rows", n, want)
	}
}

// SIGTERM while the creation of the slot waits for other transactions: the relay
// ends at once, and the server does not create the slot later.
func TestFirstStartLeftWhileTheSlotWaits(t *testing.T) {
	t.Parallel() // mostly waiting
	f := newFirstStart(t, pgtest.Start(t, pgtest.Options{}), "left")
	end := f.write(t)
	r := f.launch(t)
	f.awaitCreation(t)
	r.awaitUnready(t, "creating the slot waits for the end of all transactions")
	r.stop(t)
	if n := f.slots(t); n != 0 {
		t.Errorf("%d slots after the relay has ended", n)
	}
	end()
}

// A slot of another tool, without a state: the events in the slot are streamed,
// and other rows in the table are not.
func TestSlotTakenOver(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	topic := p.topic(t, "order", 1, nil)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'sent by the other tool')")
	p.exec(t, fmt.Sprintf("SELECT pg_create_logical_replication_slot('%s', 'pgoutput')", p.db.Name))
	truth := newOracle(t, p)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) SELECT 'order', 'not yet sent' FROM generate_series(1, 3)")
	r := p.start(t)
	p.settle(t)
	r.stop(t)
	p.exactlyOnce(t, topic, truth.rows(t))
	if got := r.output(); strings.Contains(got, "backfill") {
		t.Errorf("a backfill although the slot exists already:\n%s", got)
	}
}
