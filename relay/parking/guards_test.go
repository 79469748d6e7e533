package parking

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/relay/internal/dbtest"
	"walpost/relay/postgres"
	"walpost/schema"
)

// A relay that no longer has the slot publishes nothing of what is given back, and changes nothing in the table.
func TestFenceOfRelease(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l}
	l.Serve(sink)
	l.Park([]*schema.DeadLetter{letter(1, "a", true)})
	dbtest.Until(t, "the event is parked", func() bool { return l.acks.is(1) == 1 })
	l.Exec("update walpost.relay_state set holder = 'another'")
	l.Exec("update walpost.dead_letters set state = 'retrying'")
	dbtest.Until(t, "the parker has looked for it", func() bool { return l.Logs.Has(notPublished) || sink.got() != "" })
	if got := sink.got(); got != "" {
		t.Errorf("published %q", got)
	}
	if state := l.Ask("select state from walpost.dead_letters"); state != "retrying" {
		t.Errorf("the dead letter is %s", state)
	}
}

// An event that is discarded is not published, also if what waits behind it is given back.
func TestDiscardedIsNotReleased(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l}
	l.Serve(sink)
	for n, value := range []string{"1", "2", "3"} {
		one := letter(uint64(n+1), "a", n == 0)
		one.Value = []byte(value)
		if n > 0 && l.Verdict("t", one.Key, one.At, one.Tx) != schema.Park {
			t.Fatal("a later event is not parked")
		}
		l.Park([]*schema.DeadLetter{one})
	}
	dbtest.Until(t, "the events are parked", func() bool { return l.acks.is(3) == 1 })
	l.Exec("update walpost.dead_letters set state = 'discarded' where value in ('1', '2')")
	l.Exec("update walpost.dead_letters set state = 'retrying' where value = '3'")
	dbtest.Until(t, "the last one is released", func() bool { return l.Ask("select state from walpost.dead_letters where value = '3'") == "released" })
	if got := sink.got(); got != "3" {
		t.Errorf("published %s", got)
	}
}

// Parking does not depend on default_transaction_read_only, which some people set for all roles but the application's.
func TestParkingWhereTransactionsAreReadOnly(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.Exec("alter database " + schema.QuoteIdent(l.Ask("select current_database()")) + " set default_transaction_read_only = on")
	l.Park([]*schema.DeadLetter{letter(1, "a", true)})
	dbtest.Until(t, "the event is parked, or waits", func() bool { return l.acks.is(1) == 1 || l.Parked().Waits != "" })
	if w := l.Parked().Waits; w != "" {
		t.Error(w)
	}
	if code := l.Ask("select reason from walpost.dead_letters"); code != string(reason.MessageTooLarge) {
		t.Errorf("parked with reason %s", code)
	}
}

// An event counts as parked only when its dead letter would survive a crash of the server, whatever synchronous_commit is for others.
func TestParkedEventSurvivesACrash(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.Exec("alter database " + schema.QuoteIdent(l.Ask("select current_database()")) + " set synchronous_commit = off")
	l.Exec("create function note() returns trigger language plpgsql as $$ begin new.detail := current_setting('synchronous_commit'); return new; end $$")
	l.Exec("create trigger note before insert on walpost.dead_letters for each row execute function note()")
	l.Park([]*schema.DeadLetter{letter(1, "a", true)})
	dbtest.Until(t, "the event is parked", func() bool { return l.acks.is(1) == 1 })
	if got := l.Ask("select detail from walpost.dead_letters"); got != "on" {
		t.Errorf("synchronous_commit is %s", got)
	}
}

// What somebody discards by hand while it is being published stays discarded, whether Kafka takes it or not.
func TestDiscardedWhilePublished(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l, gate: make(chan struct{}), refuse: map[string]bool{"refused": true}}
	l.Serve(sink)
	for i, value := range []string{"taken", "refused"} {
		one := letter(uint64(i+1), value, true)
		one.Value = []byte(value)
		l.Park([]*schema.DeadLetter{one})
	}
	dbtest.Until(t, "both are parked", func() bool { return l.acks.is(1)+l.acks.is(2) == 2 })
	l.Exec("update walpost.dead_letters set state = 'retrying'")
	dbtest.Until(t, "they are being published", func() bool { return sink.waits.Load() == 1 })
	l.Exec("update walpost.dead_letters set state = 'discarded'")
	close(sink.gate)
	dbtest.Until(t, "their keys flow", func() bool { return l.Parked().Keys == 0 })
	if got := l.values(); got != "taken=discarded refused=discarded" {
		t.Errorf("after that: %s", got)
	}
}

// An event that is parked a second time, because the answer to a commit was lost, keeps its dead letter, whatever became of it meanwhile.
func TestParkedTwice(t *testing.T) {
	t.Parallel()
	l := park(t)
	for tx := uint64(1); tx <= 2; tx++ {
		one := letter(1, "a", true)
		one.Tx = tx
		l.Park([]*schema.DeadLetter{one})
		dbtest.Until(t, "the event is acked", func() bool { return l.acks.is(tx) == 1 })
		l.Exec("update walpost.dead_letters set state = 'discarded' where $1", tx == 1)
	}
	if state := l.Ask("select string_agg(state, ' ') from walpost.dead_letters"); state != "discarded" {
		t.Errorf("its dead letter is %s", state)
	}
}

// A session knows which events were released and which were discarded: only released ones are sent again behind an older one of their key.
func TestSettledEventsAreLoaded(t *testing.T) {
	t.Parallel()
	l := park(t)
	for n, state := range map[uint64]string{3: "released", 5: "discarded", 6: "released", 7: "discarded"} {
		l.Exec("insert into walpost.dead_letters (slot, position, topic, key, reason, state) values ($1, $2, 't', 'a', 'x', $3)", l.Slot, at(n).String(), state)
	}
	db, err := postgres.Connect(t.Context(), l.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := l.Load(t.Context(), db, "me", at(4)); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[uint64]schema.Verdict{5: schema.Settle, 6: schema.Settle, 7: schema.Settle} {
		if got := l.Verdict("t", []byte("a"), at(n), 0); got != want {
			t.Errorf("event %d: verdict %d, want %d", n, got, want)
		}
	}
	l.Verdict("t", []byte("a"), at(4), 0) // an older event, which is sent again
	for n, want := range map[uint64]schema.Verdict{5: schema.Settle, 6: schema.Send, 7: schema.Settle} {
		if got := l.Verdict("t", []byte("a"), at(n), 0); got != want {
			t.Errorf("event %d behind an older one: verdict %d, want %d", n, got, want)
		}
	}
}

// What is given back goes before what waits in a lane only if everything before it is confirmed. Newer events go behind that.
func TestWhatIsConfirmedGoesFirst(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.resumed.Store(2) // what comes before this position is confirmed
	sink := &testSink{l: l}
	l.Serve(sink)
	l.add(1, "1", true)
	l.add(2, "2", false)
	l.Exec("update walpost.dead_letters set state = 'retrying'")
	dbtest.Until(t, "both are published", func() bool { return l.values() == "1=released 2=released" })
	if got := sink.firsts(); got != "1" {
		t.Errorf("these went first: %s", got)
	}
}

// While nothing is known to be parked, what somebody gives back by hand is found once a minute.
func TestGivenBackWhileNothingIsParked(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.Exec("insert into walpost.dead_letters (slot, position, topic, key, reason, state) values ($1, $2, 't', 'a', 'x', 'released')", l.Slot, at(1).String())
	next := New(l.cfg)
	next.Hold("me")
	s := &survey{p: next, c: next.connection()}
	defer s.c.close()
	look := func(since time.Duration) string {
		t.Helper()
		s.looked, s.given = time.Now().Add(-since), time.Time{}
		given, err := s.look(t.Context(), "me", &testSink{l: l})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(given, " ")
	}
	if given := look(lookIdleEvery); given != "" || next.look.Load() {
		t.Errorf("nothing is given back, and it finds %q", given)
	}
	l.Exec("update walpost.dead_letters set state = 'retrying'")
	if given := look(0); given != "" {
		t.Errorf("it does not wait for a minute: %q", given)
	}
	if given := look(lookIdleEvery); given != "t" || !next.look.Load() {
		t.Errorf("after a minute it finds %q", given)
	}
}

// A round has limited bytes, except one event that is larger alone.
func TestRoundIsLimited(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.Exec(`insert into walpost.dead_letters (slot, position, topic, key, value, reason, state)
		select $1, '00000001-000000000000000' || i || '-00000000', 't', 'a', convert_to(repeat('v', 600), 'UTF8'), 'x', 'retrying' from generate_series(1, 5) i`, l.Slot)
	c := l.connection()
	defer c.close()
	for most, want := range map[int64]int{1: 1, 1000: 1, 2000: 3, 1 << 20: 5} {
		var r *round
		err := c.inTx(t.Context(), "me", func(ctx context.Context, tx pgx.Tx) (err error) {
			r, err = l.given(ctx, tx, "t", most)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.ids) != want {
			t.Errorf("%d events of 601 bytes are in a round of %d bytes, want %d", len(r.ids), most, want)
		}
	}
}
