package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/long"
)

// onEach runs a test on a server of each given major version.
func onEach(t *testing.T, majors []int, test func(*testing.T, *pipe)) {
	for _, major := range majors {
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) {
			t.Parallel()
			test(t, pipeOn(t, pgtest.NewMajor(t, major), kafkatest.Brokers(t)).withSchema(t))
		})
	}
}

// spilling makes the server decode with so little memory that it spills every
// larger transaction to disk.
func (p *pipe) spilling(t testing.TB) {
	t.Helper()
	p.exec(t, "ALTER DATABASE "+p.db.Name+" SET logical_decoding_work_mem = '64kB'")
}

// mustSpill fails the test if no transaction of the slot was spilled to disk,
// because then the test shows too little.
func (p *pipe) mustSpill(t testing.TB) {
	t.Helper()
	eventually(t, "transactions are spilled", func() string {
		if ask[int64](t, p.conn, "SELECT coalesce((SELECT spill_txns FROM pg_stat_replication_slots WHERE slot_name = $1), 0)", p.db.Name) == 0 {
			return "none yet"
		}
		return ""
	})
}

// sameAsTable checks that a topic has each row of the table once, and no other
// record. It does not depend on any decoding of the WAL.
func (p *pipe) sameAsTable(t testing.TB, topic string) {
	t.Helper()
	rows, err := p.conn.Query(t.Context(), "SELECT id::text FROM walpost.outbox")
	if err != nil {
		t.Fatal(err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range flat(p.read(t, topic)) {
		got = append(got, *headers(t, r)["id"])
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the topic has %d events and the table %d, or they differ", len(got), len(want))
	}
}

// Transactions with many subtransactions, too large for the server to decode in
// memory, arrive without the rows that were rolled back and with all others.
// They have savepoints that are rolled back or released, nested savepoints,
// caught exceptions, and commits of other sessions in between.
func TestUndoneSavepointNeverCostsItsTransaction(t *testing.T) {
	t.Parallel()
	onEach(t, pgtest.Majors(), func(t *testing.T, p *pipe) {
		p.spilling(t)
		topic := p.topic(t, "order", 3, nil)
		r := p.start(t)
		truth := newOracle(t, p)
		const row = "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload) SELECT 'order', 'k'||j %% 20, '%s', to_jsonb(repeat('x', 300)) FROM generate_series(1, %d) j"
		insert := func(typ string, n int) string { return fmt.Sprintf(row, typ, n) }

		a, b := p.connect(t), p.connect(t)
		execOn(t, a, "BEGIN", insert("kept", 400))
		for i := range 30 {
			execOn(t, a, "SAVEPOINT outside", insert("kept", 30), "SAVEPOINT inside", insert("kept or undone", 30))
			switch i % 3 {
			case 0:
				execOn(t, a, "RELEASE inside", "RELEASE outside")
			case 1:
				execOn(t, a, "ROLLBACK TO inside", insert("kept after an undo", 5), "RELEASE outside")
			case 2: // after the inner one was released
				execOn(t, a, "RELEASE inside", "ROLLBACK TO outside")
			}
			execOn(t, b, insert("of another session", 3))
		}
		execOn(t, b, `DO $$ BEGIN
			FOR i IN 1..60 LOOP
				BEGIN
					`+insert("kept or swallowed", 20)+`;
					BEGIN
						`+insert("kept or swallowed inside", 20)+`;
						IF i % 2 = 0 THEN PERFORM 1/0; END IF;
					EXCEPTION WHEN division_by_zero THEN NULL; END;
					IF i % 3 = 0 THEN RAISE EXCEPTION 'swallowed'; END IF;
				EXCEPTION WHEN raise_exception THEN NULL; END;
			END LOOP;
		END $$`)
		execOn(t, a, "COMMIT", "BEGIN", insert("rolled back", 3000), "SAVEPOINT s", insert("rolled back", 10), "ROLLBACK")
		p.settle(t)
		p.mustSpill(t)
		r.stop(t)
		p.exactlyOnce(t, topic, truth.rows(t))
		p.sameAsTable(t, topic)
	})
}

// A prepared transaction is published when it is committed, in commit order,
// whatever happened to the relay meanwhile. One that is rolled back is never
// published.
func TestPreparedTransactions(t *testing.T) {
	t.Parallel()
	onEach(t, pgtest.Majors(), func(t *testing.T, p *pipe) {
		p.spilling(t)
		topic := p.topic(t, "order", 1, nil)
		r := p.start(t)
		prepare := func(name string, rows int) {
			execOn(t, p.conn, "BEGIN", fmt.Sprintf(`INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload)
				SELECT 'order', 'k', '%s', to_jsonb(repeat('x', 300)) FROM generate_series(1, %d)`, name, rows),
				"PREPARE TRANSACTION '"+p.db.Name+" "+name+"'")
		}
		end := func(how, name string) { p.exec(t, how+" PREPARED '"+p.db.Name+" "+name+"'") }
		prepare("first", 2)
		prepare("second", 2000)
		prepare("third", 2000)
		prepare("fourth", 1)
		p.settle(t)
		if n := p.size(t, p.client(t), topic); n != 0 {
			t.Errorf("%d events of transactions that are only prepared", n)
		}
		r.stop(t)
		r = p.start(t)
		end("COMMIT", "third")
		end("ROLLBACK", "second")
		p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) VALUES ('order', 'k', 'between')")
		p.settle(t)
		r.kill()
		end("COMMIT", "first") // while no relay runs
		r = p.start(t)
		end("ROLLBACK", "fourth")
		p.settle(t)
		p.mustSpill(t)
		r.stop(t)

		var got []string
		for _, record := range flat(p.read(t, topic)) {
			got = append(got, *headers(t, record)["ce_type"])
		}
		want := slices.Concat(slices.Repeat([]string{"third"}, 2000), []string{"between", "first", "first"})
		if !slices.Equal(got, want) {
			t.Errorf("%d events, want %d: those of third, one between, two of first; types in order: %s", len(got), len(want), strings.Join(slices.Compact(got), ", "))
		}
		p.sameAsTable(t, topic)
	})
}

// Thousands of transactions without an event, which Postgres 14 sends too: the
// slot follows within 1 MB, and events among them arrive.
func TestEmptyTransactions(t *testing.T) {
	t.Parallel()
	onEach(t, long.Or([]int{pgtest.OldestMajor}, pgtest.Majors()), func(t *testing.T, p *pipe) {
		topic := p.topic(t, "order", 1, nil)
		r := p.start(t)
		truth := newOracle(t, p)
		p.exec(t, "CREATE TABLE busy (i int, filler text)")
		const bursts, transactions = 3, 3000
		for burst := range bursts {
			p.exec(t, fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP INSERT INTO busy VALUES (i, repeat('x', 500)); COMMIT; END LOOP; END $$`, transactions),
				"INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'x')")
			within(t, 20*time.Second, fmt.Sprintf("burst %d: the slot is within 1 MB", burst), func() string {
				r.mustRun(t)
				if lag := ask[int64](t, p.conn, "SELECT (pg_current_wal_insert_lsn() - confirmed_flush_lsn)::bigint FROM pg_replication_slots WHERE slot_name = $1", p.db.Name); lag > 1<<20 {
					return fmt.Sprintf("%d bytes behind", lag)
				}
				return ""
			})
		}
		p.settle(t)
		if n := r.metrics(t)["walpost_transactions_total"]; p.db.Major < 15 && n < bursts*transactions {
			t.Errorf("%v transactions came, so the test shows nothing", n)
		}
		r.stop(t)
		p.exactlyOnce(t, topic, truth.rows(t))
	})
}

// A publication that publishes all operations on two tables, and messages in the
// WAL. Only inserts into the outbox are events, even if the row is gone again
// when the transaction ends.
func TestOtherChangesInTheStream(t *testing.T) {
	t.Parallel()
	onEach(t, pgtest.Majors(), func(t *testing.T, p *pipe) {
		p.exec(t, "CREATE TABLE public.outbox (id int PRIMARY KEY, aggregatetype text, payload numeric)",
			"ALTER PUBLICATION walpost ADD TABLE public.outbox", "ALTER PUBLICATION walpost SET (publish = 'insert, update, delete, truncate')")
		topic := p.topic(t, "order", 1, nil)
		r := p.start(t)
		truth := newOracle(t, p)
		truth.only = "walpost.outbox"
		insert := func(typ string) string {
			return "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload) VALUES ('order', 'k', '" + typ + "', '{}')"
		}
		const noise = "INSERT INTO public.outbox SELECT coalesce(max(id), 0) + 1, 'order', 1 FROM public.outbox"
		p.exec(t,
			noise, "UPDATE public.outbox SET payload = 2", insert("plain"), "DELETE FROM public.outbox",
			"BEGIN", insert("1"), noise, insert("2"), "TRUNCATE public.outbox", insert("3"), "COMMIT",
			"UPDATE walpost.outbox SET payload = '{\"a\": 1}'", "UPDATE walpost.outbox SET id = gen_random_uuid() WHERE type = '1'", "DELETE FROM walpost.outbox WHERE type = '2'",
			"BEGIN", insert("deleted at once"), "DELETE FROM walpost.outbox WHERE type = 'deleted at once'", insert("beside it"), "COMMIT",
			"BEGIN", insert("truncated at once"), "TRUNCATE walpost.outbox", insert("after the truncation"), "COMMIT",
			"TRUNCATE walpost.outbox, public.outbox",
			"SELECT pg_logical_emit_message(false, 'walpost', 'of no transaction')",
			"BEGIN", insert("before a message"), "SELECT pg_logical_emit_message(true, 'walpost', 'inside')", "SELECT pg_logical_emit_message(false, 'walpost', 'beside')", insert("after a message"), "COMMIT",
			"SELECT pg_logical_emit_message(true, 'walpost', 'alone')",
			"BEGIN", insert("rolled back"), "SELECT pg_logical_emit_message(true, 'walpost', 'rolled back')", "ROLLBACK",
		)
		copied, err := p.conn.CopyFrom(t.Context(), pgx.Identifier{"walpost", "outbox"}, []string{"aggregatetype", "aggregateid", "type"},
			pgx.CopyFromSlice(3, func(int) ([]any, error) { return []any{"order", "k", "copied"}, nil }))
		if err != nil || copied != 3 {
			t.Fatalf("COPY: %d rows, %v", copied, err)
		}
		p.settle(t)
		r.stop(t)
		var got []string
		for _, record := range flat(p.read(t, topic)) {
			got = append(got, *headers(t, record)["ce_type"])
		}
		if want := []string{"plain", "1", "2", "3", "deleted at once", "beside it", "truncated at once", "after the truncation",
			"before a message", "after a message", "copied", "copied", "copied"}; !slices.Equal(got, want) {
			t.Errorf("events\n%q\nwant\n%q", got, want)
		}
		p.exactlyOnce(t, topic, truth.rows(t))
	})
}
