package deadletter

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/relay/internal/dbtest"
	"walpost/schema"
)

// letters returns a database with parked events: those of key a, b and c, two events each.
func letters(t *testing.T) *dbtest.Database {
	t.Helper()
	d := dbtest.New(t)
	d.Exec(`insert into walpost.dead_letters (slot, position, topic, key, reason, state)
		select $1, '00000001-0000000000000010-' || lpad(i::text, 8, '0'), 't', convert_to(substr('aabbcc', i, 1), 'UTF8'), 'message_too_large', case i % 2 when 1 then 'head' else 'waiting' end
		from generate_series(1, 6) i`, d.Slot)
	return d
}

func (f Filter) key(k string) Filter {
	f.Key = &k
	return f
}

const states = "select string_agg(id || '=' || state, ' ' order by id) from walpost.dead_letters"

// A key of which a row has a position that cannot be read, or that lies beyond the server's WAL, stays parked, and the others are given back.
// Such a row can be discarded.
func TestUnplaced(t *testing.T) {
	t.Parallel()
	d := letters(t)
	d.Exec("update walpost.dead_letters set position = 'lost' where id = 1")
	d.Exec("update walpost.dead_letters set position = '00000001-00000000000000ab-00000000', key = null where id = 3") // lower case
	c, err := GiveBack(t.Context(), d.Conn, d.Slot, Filter{}, "", false)
	if err != nil || !slices.Equal(c.Unplaced, []int64{1, 3}) || c.Events != 3 || c.Keys != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	if got, want := d.Ask(states), "1=head 2=waiting 3=head 4=retrying 5=retrying 6=retrying"; got != want {
		t.Errorf("states %s, want %s", got, want)
	}
	if c, err = Discard(t.Context(), d.Conn, d.Slot, Filter{IDs: []int64{1}}, "n", "", false); err != nil || c.Events != 1 {
		t.Errorf("discard: %+v, %v", c, err)
	}
	if c, err = GiveBack(t.Context(), d.Conn, d.Slot, Filter{}.key("a"), "", false); err != nil || c.Events != 1 || len(c.Unplaced) > 0 {
		t.Errorf("%+v, %v", c, err)
	}
	d.Exec("update walpost.dead_letters set state = 'waiting', position = '00000001-FFFFFFF000000000-00000000' where id = 5")
	if c, err = GiveBack(t.Context(), d.Conn, d.Slot, Filter{}.key("c"), "", false); err != nil || !slices.Equal(c.Unplaced, []int64{5}) || c.Events != 0 {
		t.Errorf("beyond the WAL: %+v, %v", c, err)
	}
}

// An event whose state does not exist is parked, because it was not published. While the constraint is there, nobody looks for such rows.
func TestRepairStates(t *testing.T) {
	t.Parallel()
	d := letters(t)
	d.Exec("set constraint_exclusion = on")
	if plan := d.Ask("explain (format json) select from walpost.dead_letters where slot = 's' and " + strange); !strings.Contains(plan, `"One-Time Filter": "false"`) {
		t.Errorf("Postgres looks for rows that cannot be there: %s", plan)
	}
	d.Exec("alter table walpost.dead_letters drop constraint dead_letters_state_check")
	d.Exec("update walpost.dead_letters set state = 'it''s gone' where id in (1, 4)")
	if n, err := CountStrange(t.Context(), d.Conn, d.Slot); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	c, err := GiveBack(t.Context(), d.Conn, d.Slot, Filter{}.key("a"), "", false)
	if err != nil || c.Events != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	if got, want := d.Ask(states), "1=retrying 2=retrying 3=head 4=head 5=head 6=waiting"; got != want {
		t.Errorf("states %s, want %s", got, want)
	}
	if got, want := d.Ask("select reason || ': ' || detail from walpost.dead_letters where id = 4"), "unexpected: somebody set the state to 'it''s gone', which does not exist"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

// Two people at once change each event once, also if the slot has no state. The second one learns that the first one was faster.
func TestTwoPeople(t *testing.T) {
	t.Parallel()
	for _, withState := range []bool{true, false} {
		d := letters(t)
		if withState {
			d.Exec("insert into walpost.relay_state (slot, phase) values ($1, 'streaming')", d.Slot)
		}
		do := map[string]func(*pgx.Conn) (Change, error){
			"retry": func(db *pgx.Conn) (Change, error) { return GiveBack(t.Context(), db, d.Slot, Filter{}, "", false) },
			"discard": func(db *pgx.Conn) (Change, error) {
				return Discard(t.Context(), db, d.Slot, Filter{IDs: []int64{1, 2, 3, 4, 5, 6}}, "n", "", false)
			},
		}
		others := []*pgx.Conn{d.Conn, nil}
		second, err := pgx.Connect(t.Context(), d.DSN)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close(context.Background())
		others[1] = second
		for _, pair := range [][2]string{{"retry", "retry"}, {"retry", "discard"}, {"discard", "discard"}} {
			for range 20 {
				d.Exec("update walpost.dead_letters set state = 'head'")
				var changes [2]Change
				var both sync.WaitGroup
				for i, what := range pair {
					both.Go(func() {
						var err error
						if changes[i], err = do[what](others[i]); err != nil {
							t.Errorf("%s: %v", what, err)
						}
					})
				}
				both.Wait()
				first, last := changes[0], changes[1]
				if first.Events == 0 {
					first, last = last, first
				}
				switch retried := d.Ask("select count(*) filter (where state = 'retrying')::text from walpost.dead_letters"); {
				case first.Events != 6 || last.Events != 0, retried != "0" && retried != "6", last.Busy != 6 && last.Over != 6 && pair != [2]string{"retry", "discard"}:
					t.Fatalf("%v: %+v, %s retried", pair, changes, retried)
				case retried == "6" && last.Busy != 6:
					t.Fatalf("%v: %+v: the second one does not learn that they are given back", pair, changes)
				}
			}
		}
	}
}

// Giving back takes a time that grows with the number of events, and not with its square.
func TestGiveBackMany(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	d.Exec(`insert into walpost.dead_letters (slot, position, topic, key, reason)
		select $1, '00000001-0000000000000010-' || upper(lpad(to_hex(i), 8, '0')), 't', convert_to('key ' || i, 'UTF8'), 'x' from generate_series(1, 60000) i`, d.Slot)
	d.Exec("set statement_timeout = '60s'")
	c, err := GiveBack(t.Context(), d.Conn, d.Slot, Filter{}, "", false)
	if err != nil || c.Events != 60000 || c.Keys != 60000 {
		t.Errorf("%+v, %v", c, err)
	}
}

// If one id is missing, nothing changes.
func TestMissing(t *testing.T) {
	t.Parallel()
	d := letters(t)
	before := d.Ask(states)
	var missing *MissingError
	if _, err := GiveBack(t.Context(), d.Conn, d.Slot, Filter{IDs: []int64{1, 70, 71}}, "", false); !errors.As(err, &missing) || err.Error() != "slot "+d.Slot+" has no dead letter with ids 70 71" {
		t.Errorf("%v", err)
	}
	if _, err := Discard(t.Context(), d.Conn, "other", Filter{IDs: []int64{1}}, "n", "", false); !errors.As(err, &missing) || err.Error() != "slot other has no dead letter with id 1" {
		t.Errorf("%v", err)
	}
	if got := d.Ask(states); got != before {
		t.Errorf("states %s, want %s", got, before)
	}
}

// waitingDiscard begins to discard everything in a session of its own, and checks that this waits for a lock. The channel gets its result.
func waitingDiscard(t *testing.T, d *dbtest.Database) <-chan error {
	t.Helper()
	person, err := pgx.Connect(t.Context(), d.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close(context.Background()) })
	done := make(chan error, 1)
	go func() {
		_, err := Discard(t.Context(), person, d.Slot, Filter{}, "n", "", false)
		done <- err
	}()
	dbtest.Until(t, "it waits, or is done", func() bool {
		return len(done) > 0 || d.Ask("select count(*)::text from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'") == "1"
	})
	if len(done) > 0 {
		t.Error("it does not wait")
	}
	return done
}

// A change waits while a relay parks or publishes, and survives a crash of the server, whatever synchronous_commit is for others.
func TestChangeWaitsForTheRelay(t *testing.T) {
	t.Parallel()
	d := letters(t)
	d.Exec("insert into walpost.relay_state (slot, phase) values ($1, 'streaming')", d.Slot)
	d.Exec("alter database " + schema.QuoteIdent(d.Ask("select current_database()")) + " set synchronous_commit = off")
	d.Exec("create function note() returns trigger language plpgsql as $$ begin new.detail := current_setting('synchronous_commit'); return new; end $$")
	d.Exec("create trigger note before update on walpost.dead_letters for each row execute function note()")
	d.Exec("begin")
	d.Exec("select from walpost.relay_state for no key update") // as a relay does
	done := waitingDiscard(t, d)
	d.Exec("commit")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := d.Ask("select string_agg(distinct state || ' ' || detail, ', ') from walpost.dead_letters"); got != "discarded on" {
		t.Errorf("state and synchronous_commit: %s", got)
	}
}

// Two people wait for each other, also if the slot has no state that they could lock.
func TestPeopleWaitForEachOther(t *testing.T) {
	t.Parallel()
	d := letters(t)
	first, err := d.Conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := lock(t.Context(), first, d.Slot); err != nil {
		t.Fatal(err)
	}
	done := waitingDiscard(t, d)
	if err := errors.Join(first.Commit(t.Context()), <-done); err != nil {
		t.Fatal(err)
	}
}

// What waits for its topic is not given back, also together with a key of its topic, and can be discarded. It is counted by topic.
func TestWhatWaitsForItsTopic(t *testing.T) {
	t.Parallel()
	d := letters(t)
	d.Exec("update walpost.dead_letters set reason = 'topic_blocked', detail = 'topic_missing: gone', state = 'waiting', value = 'abc' where id in (2, 5, 6)")
	c, err := GiveBack(t.Context(), d.Conn, d.Slot, Filter{}, "", false)
	if err != nil || c.Events != 3 || c.Keys != 2 || c.Blocked != 3 {
		t.Errorf("%+v, %v", c, err)
	}
	if got, want := d.Ask(states), "1=retrying 2=waiting 3=retrying 4=retrying 5=waiting 6=waiting"; got != want {
		t.Errorf("states %s, want %s", got, want)
	}
	s, err := Summarize(t.Context(), d.Conn, d.Slot)
	if err != nil || s.Events != 3 || len(s.Topics) != 1 || s.Topics[0].Events != 3 || s.Topics[0].Bytes != 12 || s.Topics[0].Detail != "topic_missing: gone" {
		t.Errorf("%+v, %v", s, err)
	}
	if c, err = Discard(t.Context(), d.Conn, d.Slot, Filter{Reason: "topic_blocked"}, "n", "", false); err != nil || c.Events != 3 || c.Blocked != 0 {
		t.Errorf("discard: %+v, %v", c, err)
	}
}
