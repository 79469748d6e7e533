package deadletter

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/relay/internal/dbtest"
	"walpost/schema"
)

// many parks n events that wait for their topic, of 7000 keys, two in a row of each.
func many(t *testing.T, n int) *dbtest.Database {
	t.Helper()
	d := dbtest.New(t)
	d.Exec("insert into walpost.relay_state (slot, phase) values ($1, 'streaming')", d.Slot)
	d.Exec(`insert into walpost.dead_letters (slot, position, topic, key, reason, state)
		select $1, '00000001-0000000000000010-' || upper(lpad(to_hex(i), 8, '0')), 't', convert_to('key ' || i / 2 % 7000, 'UTF8'), 'topic_blocked', 'waiting' from generate_series(1, $2::int) i`, d.Slot, n)
	return d
}

// Each transaction discards a limited number of events, and the relay gets its lock in between. Events, keys and what is given back count once.
func TestDiscardInChunks(t *testing.T) {
	t.Parallel()
	d := many(t, 25000)
	d.Exec("update walpost.dead_letters set state = 'retrying' where id in (5, 20001)")
	relay, err := pgx.Connect(t.Context(), d.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close(context.Background())
	stop, ended := make(chan struct{}), make(chan int)
	go func() { // takes the lock again and again, and counts how often some are discarded then, and some are not
		between := 0
		for {
			select {
			case <-stop:
				ended <- between
				return
			default:
			}
			var some bool
			err := pgx.BeginFunc(context.Background(), relay, func(tx pgx.Tx) error {
				if _, err := tx.Exec(context.Background(), "select from walpost.relay_state where slot = $1 for no key update", d.Slot); err != nil {
					return err
				}
				return tx.QueryRow(context.Background(), "select count(*) filter (where state = 'discarded') between 1 and 24997 from walpost.dead_letters").Scan(&some)
			})
			if err != nil {
				t.Error(err)
			}
			if some {
				between++
			}
		}
	}()
	person, err := pgx.Connect(t.Context(), d.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer person.Close(context.Background())
	c, err := Discard(t.Context(), person, d.Slot, Filter{Reason: "topic_blocked"}, "n", "", false)
	close(stop)
	if between := <-ended; between == 0 {
		t.Error("the relay did not get its lock while events were discarded")
	}
	if err != nil || c.Events != 24998 || c.Keys != 7000 || c.Busy != 2 || c.Over != 0 || c.Blocked != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	const transactions = "select count(*) || ', at most ' || max(n) from (select count(*) as n from walpost.dead_letters where state = 'discarded' group by xmin) t"
	if got := d.Ask(transactions); got != "3, at most 10000" {
		t.Errorf("transactions: %s", got)
	}
}

// begun returns a discard of chunks of two.
func begun(d *dbtest.Database, f Filter) *discard {
	return &discard{db: d.Conn, slot: d.Slot, filter: f, note: "n", most: 2}
}

// What comes while events are discarded stays, and the discard ends.
func TestDiscardEnds(t *testing.T) {
	t.Parallel()
	d := letters(t)
	d.Exec(`create function comes() returns trigger language plpgsql as $$ begin
		if (select count(*) < 50 from walpost.dead_letters) then
			insert into walpost.dead_letters (slot, position, topic, key, reason) select slot, '00000001-0000000000000011-' || upper(lpad(to_hex(currval(pg_get_serial_sequence('walpost.dead_letters', 'id'))::int), 8, '0')), 't', 'a', 'x' from walpost.dead_letters limit 1;
		end if;
		return null; end $$`)
	d.Exec("insert into walpost.dead_letters (slot, position, topic, reason) values ('another', '00000001-0000000000000010-00000001', 't', 'x')")
	d.Exec("create trigger comes after update on walpost.dead_letters for each statement execute function comes()")
	d.Exec("select nextval(pg_get_serial_sequence('walpost.dead_letters', 'id'))") // this session has a current value
	one := begun(d, Filter{})
	if err := one.run(t.Context()); err != nil || one.Events != 7 || one.Keys != 3 { // one came before it looked for the highest id
		t.Errorf("%+v, %v", one.Change, err)
	}
	if got := d.Ask("select count(*) filter (where state = 'discarded') || ', ' || count(*) filter (where state = 'head') from walpost.dead_letters"); got != "7, 5" { // one of another slot, and one of each statement
		t.Errorf("discarded, and parked: %s", got)
	}
}

// If a transaction fails, the others stay, and the error says how many events they have discarded. Named ids count in each chunk.
func TestDiscardIsInterrupted(t *testing.T) {
	t.Parallel()
	d := letters(t)
	d.Exec("create function fails() returns trigger language plpgsql as $$ begin raise 'no room'; end $$")
	d.Exec("create trigger fails before update on walpost.dead_letters for each row when (old.id = 4) execute function fails()")
	one := begun(d, Filter{})
	err := one.run(t.Context())
	dbtest.WantError(t, err, "discard dead letters of slot "+d.Slot, "no room", "; 2 events were discarded before that and stay so: run the command again for the rest")
	if got, want := d.Ask(states), "1=discarded 2=discarded 3=head 4=waiting 5=head 6=waiting"; got != want || one.Events != 2 {
		t.Errorf("states %s, want %s; %+v", got, want, one.Change)
	}
	if err = begun(d, Filter{IDs: []int64{4}}).run(t.Context()); err == nil || strings.Contains(err.Error(), "discarded before") {
		t.Errorf("nothing was discarded: %v", err)
	}
	d.Exec("drop trigger fails on walpost.dead_letters")
	d.Exec("update walpost.dead_letters set state = 'retrying' where id = 3")
	one = begun(d, Filter{IDs: []int64{6, 5, 5, 4, 3, 2, 1}})
	if err := one.run(t.Context()); err != nil || one.Events != 3 || one.Keys != 2 || one.Busy != 1 || one.Over != 2 {
		t.Errorf("%+v, %v", one.Change, err)
	}
}

// A dry run counts everything, changes nothing and waits for no lock of the relay.
func TestDryRunOfDiscard(t *testing.T) {
	t.Parallel()
	d := letters(t)
	d.Exec("insert into walpost.relay_state (slot, phase) values ($1, 'streaming')", d.Slot)
	d.Exec("update walpost.dead_letters set state = 'retrying' where id = 3")
	before := d.Ask(states)
	d.Exec("begin")
	d.Exec("select from walpost.relay_state for no key update") // as a relay does
	person, err := pgx.Connect(t.Context(), d.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer person.Close(context.Background())
	if c, err := Discard(t.Context(), person, d.Slot, Filter{}, "n", "", true); err != nil || c.Events != 5 || c.Keys != 3 || c.Busy != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if got := d.Ask(states); got != before {
		t.Errorf("states %s, want %s", got, before)
	}
	d.Exec("commit")
}

// Of a topic, the first event says why it takes no records, and since when.
func TestTopical(t *testing.T) {
	t.Parallel()
	d := letters(t)
	d.Exec("update walpost.dead_letters set reason = 'topic_blocked', state = 'waiting', detail = id || ': no', parked_at = '2026-01-01T00:00:00Z'::timestamptz - id * interval '1 day' where id <> 2")
	d.Exec("update walpost.dead_letters set topic = 'u', detail = null, parked_at = 'infinity' where id in (5, 6)")
	topics, err := Topical(t.Context(), d.Conn, d.Slot)
	if err != nil || len(topics) != 2 {
		t.Fatalf("%+v, %v", topics, err)
	}
	if one := topics[0]; one.Topic != "t" || one.Detail != "1: no" || one.Since.UTC().Format("01-02") != "12-31" || one.Events != 3 || one.Bytes != 3 {
		t.Errorf("%+v", one)
	}
	if one := topics[1]; one.Topic != "u" || one.Detail != "" || one.Since.Year() != 9999 || one.Events != 2 {
		t.Errorf("%+v", one)
	}
	if events, err := CountByTopic(t.Context(), d.Conn, d.Slot); err != nil || !maps.Equal(events, map[string]int64{"t": 3, "u": 2}) {
		t.Errorf("%v, %v", events, err)
	}
}

// The size of a row, in SQL, is that of its key, its value and the elements of its headers, whatever somebody has made of them.
func TestSizeOf(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	for _, c := range []struct{ key, value, names, values, want string }{
		{"null", "null", "'{}'", "'{}'", "0"},
		{"'abc'", "'de'", "'{}'", "'{}'", "5"},
		{"'a'", "null", "'{a,bcd}'", "'{ef,NULL}'", "7"},
		{"'a'", "null", "'{{a,b},{c,d}}'", "'[5:6]={xy,z}'", "8"},
		{"''", "''", `'{""}'`, `'{"",""}'`, "0"},
		{"null", "repeat('v', 100000)::bytea", "'{n}'", "array[repeat('h', 100000)::bytea]", "200001"},
		{"'k'", "'v'", "array_fill('nn'::bytea, '{300}')", "array_fill(''::bytea, '{300}')", "602"},
	} {
		d.Exec("delete from walpost.dead_letters")
		row := strings.Join([]string{c.key, c.value, c.names, c.values}, ", ")
		d.Exec("insert into walpost.dead_letters (slot, position, event_id, reason, state, key, value, header_names, header_values) values ('s', 'p', 'e', 'x', 'head', " + row + ")")
		if got := d.Ask("select (" + schema.SizeOf + ")::text from walpost.dead_letters"); got != c.want {
			t.Errorf("%s: %s bytes, want %s", row, got, c.want)
		}
	}
}
