package parking

import (
	"context"
	"strings"
	"testing"
	"time"

	"walpost/relay/internal/dbtest"
	"walpost/relay/postgres"
	"walpost/schema"
)

// A row that somebody edited stays, says what is wrong, and holds back its key alone.
func TestEditedRow(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		set, detail string
		released    bool // it can be published nevertheless
	}{
		// Its place among the others must not change: deadletter.GiveBack refuses keys whose order is not known, and this edit goes past it.
		"position":               {"position = position || 'h'", `"00000001-0000000000000001-00000000h" is not a position`, false},
		"fewer values":           {`header_names = '{a,b}', header_values = '{c}'`, "it has 2 header_names and 1 header_values", false},
		"names in two levels":    {`header_names = '{{a},{id}}', header_values = '{c,d}'`, "", true},
		"a name that is NULL":    {`header_names = '{NULL,id}', header_values = '{c,d}'`, "", true},
		"infinite timestamp":     {"record_timestamp = 'infinity'", "", true},
		"timestamp before year":  {"record_timestamp = '0044-03-15 BC'", "", true},
		"most attempts":          {"attempts = 2147483647, header_names = '{a}', header_values = '{}'", "it has 1 header_names and 0 header_values", false},
		"no value":               {"value = null", "", true},
		"no event id and type":   {"event_id = null, type = null, reason = '', detail = null", "", true},
		"emptied, as by a purge": {"value = null, header_names = '{}', header_values = '{}'", noID, false},
		"no header id":           {`header_names = '{ID,ce_id}', header_values = '{c,d}'`, noID, false},
		"never was a record":     {"header_names = '{}', header_values = '{}', record_timestamp = null", "", true}, // the sink refuses it
		"state":                  {"state = 'lost'", "somebody set the state to 'lost', which does not exist", false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			l := park(t)
			l.Serve(&testSink{l: l})
			l.Exec("alter table walpost.dead_letters drop constraint dead_letters_state_check")
			for i, key := range []string{"a", "a", "b", "b"} {
				l.Park([]*schema.DeadLetter{letter(uint64(i+1), key, i%2 == 0)})
			}
			dbtest.Until(t, "they are parked", func() bool { return l.acks.is(4) == 1 })
			l.Exec("update walpost.dead_letters set " + c.set + " where id = 1")
			l.Exec("update walpost.dead_letters set state = 'retrying' where id = 3 or id = 1 and $1", what != "state")
			want := "1=head 2=waiting 3=released 4=released"
			if c.released {
				want = "1=released 2=released 3=released 4=released"
			}
			dbtest.Until(t, want, func() bool {
				return l.Ask("select string_agg(id || '=' || state, ' ' order by id) from walpost.dead_letters") == want
			})
			if got := l.Ask("select coalesce(detail, '') from walpost.dead_letters where id = 1"); !c.released && got != c.detail {
				t.Errorf("it says %q, want %q", got, c.detail)
			}
		})
	}
}

// A session begins whatever is in the table, and the keys of rows that somebody edited are parked.
func TestLoadEditedRows(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.Exec("alter table walpost.dead_letters drop constraint dead_letters_state_check")
	for i, key := range []string{"a", "b", "b", "c", "d"} {
		l.Park([]*schema.DeadLetter{letter(uint64(10+i), key, true)})
	}
	dbtest.Until(t, "they are parked", func() bool { return l.acks.is(14) == 1 })
	l.Exec("update walpost.dead_letters set position = id || ' is lost' where key in ('a', 'd')")
	l.Exec("update walpost.dead_letters set position = 'x' where id = 3")
	l.Exec("update walpost.dead_letters set position = '' where key = 'd'")
	l.Exec("update walpost.dead_letters set state = 'lost' where key = 'c'")
	next := New(Config{Slot: l.Slot, Acks: l.acks, Log: l.Logs.Logger(), Reached: func() uint64 { return 0 }, Classify: func(err error) error { return err },
		Connect: func(ctx context.Context) (*postgres.DB, error) { return postgres.Connect(ctx, l.DSN) }})
	db, err := postgres.Connect(t.Context(), l.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := next.Load(t.Context(), db, "me", schema.Position{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range []struct {
		key string
		at  uint64
	}{{"a", 99}, {"a", 1}, {"b", 99}, {"b", 11}, {"b", 12}, {"c", 99}, {"c", 13}, {"d", 99}, {"e", 99}} {
		got = append(got, c.key+map[schema.Verdict]string{schema.Send: " is sent", schema.Park: " is parked", schema.Settle: " is settled"}[next.Verdict("t", []byte(c.key), at(c.at), 0)])
	}
	// Where a row's own position is lost, nobody knows what was sent before it: everything of its key waits.
	want := "a is parked, a is parked, b is parked, b is settled, b is parked, c is parked, c is settled, d is parked, e is sent"
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("%s\nwant %s", text, want)
	}
}

// Rows whose key somebody has edited are parked under their new key, also for the relay that runs: later events of it wait, and what is refused
// again holds back what is behind it.
func TestKeyEditedWhileTheRelayRuns(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l, refuse: map[string]bool{"1": true}}
	l.Serve(sink)
	for n, value := range []string{"1", "2", "3"} {
		l.add(uint64(n+1), value, n == 0)
	}
	l.Exec("update walpost.dead_letters set key = 'z'")
	dbtest.Until(t, "the new key is parked, and the old one flows", func() bool {
		return len(l.keys.unknown(map[name]schema.Position{{"t", "z"}: {}})) == 0 && l.Parked().Keys == 1
	})
	l.Exec("update walpost.dead_letters set key = 'y', state = 'retrying'")
	dbtest.Until(t, "the first one is refused again", func() bool { return l.Ask("select max(attempts)::text from walpost.dead_letters") == "1" })
	if got := l.values(); got != "1=head 2=waiting 3=waiting" || sink.got() != "" {
		t.Errorf("the table has %s; published %s", got, sink.got())
	}
}

// What is given back of a topic that does not exist is parked as before after a while, so that it can be given up. Other topics do not wait for it.
func TestGivenBackOfAnAbsentTopic(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.absentFor = 2 * time.Second
	sink := &testSink{l: l, missing: "t"}
	l.add(1, "1", true)
	l.add(2, "2", false)
	other := letter(3, "a", true)
	other.Topic, other.Value = "u", []byte("other")
	l.Park([]*schema.DeadLetter{other})
	dbtest.Until(t, "it is parked", func() bool { return l.acks.is(3) == 1 })
	l.Exec("update walpost.dead_letters set state = 'retrying'")
	l.Serve(sink)
	dbtest.Until(t, "they are parked as before", func() bool { return l.values() == "1=head 2=waiting other=released" })
	if got := l.Ask("select attempts || ' ' || reason || ': ' || detail from walpost.dead_letters where value = '1'"); got != "1 topic_missing: there is no such topic" {
		t.Errorf("the first one has %s", got)
	}
	if v := l.Verdict("t", []byte("a"), at(9), 9); v != schema.Park || sink.got() != "other" {
		t.Errorf("verdict %d, published %s", v, sink.got())
	}
}

// What is given back at a position beyond the server's WAL is parked again, with its key. It would be given back for ever otherwise, and nobody
// could discard it.
func TestGivenBackBeyondTheWAL(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l}
	l.Serve(sink)
	for n, value := range []string{"1", "2", "3"} {
		l.add(uint64(n+1), value, n == 0)
	}
	for n, key := range []string{"b", ""} {
		one := letter(uint64(n+4), key, true)
		if one.Value = []byte("b"); key == "" {
			one.Key, one.Value = nil, []byte("alone")
		}
		l.Park([]*schema.DeadLetter{one})
	}
	dbtest.Until(t, "they are parked", func() bool { return l.acks.is(4)+l.acks.is(5) == 2 })
	l.Exec("update walpost.dead_letters set state = 'retrying', position = case when value in ('2', 'alone') then '00000001-FFFFFFF000000000-' || lpad(id::text, 8, '0') else position end")
	dbtest.Until(t, "they are parked again, and the other key is published", func() bool { return l.values() == "1=waiting 3=waiting b=released 2=head alone=head" })
	if sink.got() != "b" || l.Verdict("t", []byte("a"), at(9), 9) != schema.Park {
		t.Errorf("published %s, or the key flows", sink.got())
	}
	if got := l.Ask("select reason || ': ' || detail from walpost.dead_letters where value = '2'"); !strings.HasPrefix(got, "unexpected: its position lies beyond the WAL of this server") {
		t.Error(got)
	}
	if n := l.Logs.Count("their positions lie beyond the WAL"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	l.Exec("update walpost.dead_letters set state = 'discarded' where value in ('2', 'alone')")
	l.Exec("update walpost.dead_letters set state = 'retrying' where state = 'waiting'")
	dbtest.Until(t, "the rest of the key is published", func() bool { return sink.got() == "b 1 3" })
}
