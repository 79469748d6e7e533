package parking

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/relay/deadletter"
	"walpost/relay/internal/dbtest"
	"walpost/schema"
)

// besideBlocked returns a database in which 120,000 events wait for a topic, 20,000 are over, and few others are there.
func besideBlocked(t *testing.T) *dbtest.Database {
	t.Helper()
	d := dbtest.New(t)
	d.Exec("alter table walpost.dead_letters set (autovacuum_enabled = false)")
	d.Exec("insert into walpost.relay_state (slot, phase, holder) values ($1, 'streaming', 'me')", d.Slot)
	d.Exec(`insert into walpost.dead_letters (slot, position, topic, key, value, reason, detail, state)
		select $1, '00000001-0000000000000010-' || upper(lpad(to_hex(i), 8, '0')), 't', convert_to('key ' || i, 'UTF8'), 'v', 'topic_blocked', 'topic_missing: no', 'waiting' from generate_series(1, 120000) i`, d.Slot)
	d.Exec(`insert into walpost.dead_letters (slot, position, topic, key, reason, state)
		select $1, '00000001-0000000000000018-' || upper(lpad(to_hex(i), 8, '0')), 't', 'b', 'x', 'released' from generate_series(1, 20000) i`, d.Slot) // purged, but not old
	d.Exec(`insert into walpost.dead_letters (slot, position, topic, key, value, reason, state, updated_at)
		select $1, '00000001-0000000000000020-' || upper(lpad(to_hex(i), 8, '0')), 't', convert_to('key ' || i, 'UTF8'), 'v', r, s, clock_timestamp() - a
		from (values (1, 'x', 'head', '1 day'::interval), (2, 'x', 'head', '1 day'), (3, 'key_parked', 'retrying', '1 day'), (4, 'topic_blocked', 'released', '1 day'), (5, 'x', 'discarded', '31 days'),
		  (6, 'x', 'released', '1 day')) v (i, r, s, a)`, d.Slot)
	return d
}

// Beside many events that wait for a topic, whatever looks for other events reads only these. So it is with and without statistics.
func TestBesideBlockedEvents(t *testing.T) {
	t.Parallel()
	d := besideBlocked(t)
	p := New(Config{Slot: d.Slot, Log: d.Logs.Logger(), Reached: func() uint64 { return 1 << 40 }, Handed: func() uint64 { return 1 << 40 }})
	keys := []name{{"t", "key 1"}, {"t", "key 9"}} // of both, one event waits for the topic
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			d.Exec("analyze walpost.dead_letters")
		}
		for _, c := range []struct {
			what string
			do   func(tx pgx.Tx) error
			most int // rows that it reads
		}{
			{"purge", func(tx pgx.Tx) error { more, err := purgeIn(t.Context(), tx, d.Slot, 1<<40); return failIf(more, err) }, 12},
			{"readKeys", func(tx pgx.Tx) error {
				parked, events, _, err := readKeys(t.Context(), tx, d.Slot)
				return failIf(len(parked) != 3 || events != 3, err)
			}, 3},
			{"findTopics", func(tx pgx.Tx) error {
				topics, err := findTopics(t.Context(), tx, d.Slot)
				return failIf(len(topics) != 1, err)
			}, 6},
			{"over", func(tx pgx.Tx) error {
				if err := indexed(t.Context(), tx); err != nil {
					return err
				}
				left, err := readLeft(t.Context(), tx, d.Slot, keys, "")
				return failIf(len(left) != 1 || !left[keys[0]], err)
			}, 2},
			{"join", func(tx pgx.Tx) error {
				if err := indexed(t.Context(), tx); err != nil {
					return err
				}
				n, err := p.join(t.Context(), tx, "t", keys)
				return failIf(n != 1, err)
			}, 2},
			{"take", func(tx pgx.Tx) error {
				r, err := p.take(t.Context(), tx, "t", 1<<20)
				return failIf(r == nil || len(r.ids) != 1, err)
			}, 20},
			{"Oldest", func(tx pgx.Tx) error {
				at, err := deadletter.Oldest(t.Context(), tx.Conn(), d.Slot)
				return failIf(at.IsZero(), err)
			}, 1},
			{"count", func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), "select count(distinct key), min(parked_at) from walpost.dead_letters where slot = $1 and "+schema.WaitsForPerson, d.Slot)
				return err
			}, 3},
		} {
			if n, err := rowsRead(d, c.do); err != nil || n > c.most {
				t.Errorf("%s reads %d rows, want %d at most; analyzed: %v, %v", c.what, n, c.most, analyzed, err)
			}
		}
		for sql, index := range map[string]string{
			"slot = '" + d.Slot + "' and " + schema.WaitsForPerson + " order by position":                            "dead_letters_person",
			"sha256(key) = sha256('a') and key = 'a' and slot || '' = '" + d.Slot + "' and " + schema.WaitsForPerson: "dead_letters_person_key",
		} {
			rows, err := d.Conn.Query(t.Context(), "explain select * from walpost.dead_letters where "+sql)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if text := strings.Join(plan, "\n"); err != nil || !strings.Contains(text, index+" ") || strings.Contains(text, "Seq Scan") {
				t.Errorf("no %s; analyzed: %v, %v\n%s", index, analyzed, err, text)
			}
		}
	}
}

func failIf(wrong bool, err error) error {
	if err == nil && wrong {
		err = fmt.Errorf("a wrong result")
	}
	return err
}

// rowsRead returns how many rows of walpost.dead_letters do reads, in a transaction that is rolled back.
func rowsRead(d *dbtest.Database, do func(pgx.Tx) error) (n int, err error) {
	d.T.Helper()
	tx, err := d.Conn.Begin(d.T.Context())
	if err != nil {
		d.T.Fatal(err)
	}
	defer tx.Rollback(d.T.Context())
	count := func() (n int) {
		if err := tx.QueryRow(d.T.Context(), `select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) from pg_stat_xact_user_tables
			where relid = 'walpost.dead_letters'::regclass`).Scan(&n); err != nil {
			d.T.Fatal(err)
		}
		return n
	}
	before := count()
	if err := do(tx); err != nil {
		return 0, err
	}
	return count() - before, nil
}

// After many rows have got another state at once, Postgres does not know it yet. Even so, a round reads and changes only its own rows.
func TestRoundAmongMany(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	d.Exec("alter table walpost.dead_letters set (autovacuum_enabled = false)")
	d.Exec("insert into walpost.relay_state (slot, phase, holder) values ($1, 'streaming', 'me')", d.Slot)
	const many, few = 20_000, 100
	d.Exec(`insert into walpost.dead_letters (slot, position, topic, key, value, header_names, header_values, reason, state)
		select $1, '00000001-0000000000000010-' || upper(lpad(to_hex(i), 8, '0')), 't', convert_to('key ' || i, 'UTF8'), 'v', '{id}', '{1}', 'x', 'head' from generate_series(1, $2::int) i`, d.Slot, many)
	d.Exec("vacuum analyze walpost.dead_letters")
	p := New(Config{Slot: d.Slot, Log: d.Logs.Logger(), Reached: func() uint64 { return 1 << 40 }, Handed: func() uint64 { return 1 << 40 }})
	p.Hold("me")
	var ids []int64
	acked := func(replays []*replay) []*replay {
		for _, one := range replays {
			one.acked = true
		}
		return replays
	}
	for _, c := range []struct {
		set string
		do  func(tx pgx.Tx) error
	}{
		{"state = 'retrying'", func(tx pgx.Tx) error {
			r := &round{topic: "t", ids: ids}
			replays, err := r.read(t.Context(), tx)
			if err == nil {
				_, err = p.settle(t.Context(), tx, r, acked(replays))
			}
			return failIf(r.released != few, err)
		}},
		{"state = 'waiting', reason = 'topic_blocked'", func(tx pgx.Tx) error {
			var replays []*replay
			for _, id := range ids {
				replays = append(replays, &replay{id: id, letter: &schema.DeadLetter{At: schema.Position{LSN: 16}}})
			}
			return (&drain{publishing: publishing{p: p, topic: "t", holder: "me"}}).settle(t.Context(), tx, acked(replays))
		}},
	} {
		d.Exec("update walpost.dead_letters set " + c.set)
		ids = ids[:0]
		if err := d.Conn.QueryRow(t.Context(), "select array_agg(id) from (select id from walpost.dead_letters order by position limit $1) t", few).Scan(&ids); err != nil {
			t.Fatal(err)
		}
		n, err := rowsRead(d, func(tx pgx.Tx) error {
			if err := indexed(t.Context(), tx); err != nil {
				return err
			}
			return c.do(tx)
		})
		if err != nil || n > 3*few {
			t.Errorf("%s: it reads %d rows, want %d at most: %v", c.set, n, 3*few, err)
		}
	}
}

// The index of what waits for a person has the words of the condition.
func TestIndexHasTheWords(t *testing.T) {
	t.Parallel()
	for _, s := range schema.Statements(schema.Options{}) {
		if strings.Contains(s.SQL, "index if not exists dead_letters_person") && !strings.Contains(s.SQL, schema.WaitsForPerson+"\n") {
			t.Errorf("another condition than %s:\n%s", schema.WaitsForPerson, s.SQL)
		}
	}
}

// A person discards what waits for a person of a key, while other events of the key wait for their topic. Then the key is not parked any more: what
// comes of it waits for the topic, too.
func TestHeadIsDiscardedWhileItsTopicIsBlocked(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1")
	head := letter(2, "a", true)
	b.Park([]*schema.DeadLetter{head})
	dbtest.Until(t, "the head is parked", func() bool { return b.acks.is(2) == 1 })
	b.n = 2
	b.come("a3")
	if n := b.Parked().Keys; n != 1 {
		t.Errorf("%d keys are parked", n)
	}
	b.Exec("update walpost.dead_letters set state = 'discarded' where reason <> 'topic_blocked'")
	dbtest.Until(t, "no key is parked", func() bool { return b.Parked().Keys == 0 })
	if !b.Blocked("t") {
		t.Error("the topic flows")
	}
	b.come("a4")
	if got := b.waiting(); got != "a1 a4" {
		t.Errorf("waiting: %s", got)
	}
	b.reached.Store(100)
	b.sink.absent.Store(false)
	dbtest.Until(t, "the topic flows", func() bool { return !b.Blocked("t") })
	if got := b.sink.got(); got != "a1 a4" {
		t.Errorf("published %s", got)
	}
}

// While what waited for a topic is published, a key of it does not begin to flow: rows of the round may be found to wait behind it.
func TestKeyOfADrainedTopic(t *testing.T) {
	t.Parallel()
	l := park(t) // without a sink: nothing is published, and the key stays
	l.Block("t", reason.TopicMissing, "", "")
	l.Park([]*schema.DeadLetter{letter(1, "a", true)})
	dbtest.Until(t, "it is parked", func() bool { return l.acks.is(1) == 1 })
	l.Exec("update walpost.dead_letters set state = 'discarded'")
	s := &survey{p: l.Parker, c: l.connection(), busy: map[string]bool{"t": true}}
	defer s.c.close()
	for _, want := range []int{1, 0} {
		if err := s.whole(t.Context(), "me", &testSink{l: l}); err != nil || l.Parked().Keys != want {
			t.Errorf("%d keys are parked, want %d; %v", l.Parked().Keys, want, err)
		}
		s.busy = nil
	}
}
