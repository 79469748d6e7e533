package parking

import (
	"context"
	"strings"
	"sync"
	"testing"

	"walpost/internal/reason"
	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/schema"
)

// testAcks is the tracker of a test.
type testAcks struct {
	mu       sync.Mutex
	acked    map[uint64]int
	bytes    int
	rejected error
}

func (a *testAcks) Acked(runs []schema.Run, bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, run := range runs {
		a.acked[run.Tx] += int(run.Rows)
	}
	a.bytes += bytes
}

func (a *testAcks) Rejected(_ uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rejected = err
}

func (a *testAcks) is(tx uint64) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.acked[tx]
}

func (a *testAcks) refusal() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rejected
}

// lot is a parker at work on a database.
type lot struct {
	*dbtest.Database
	*Parker
	acks *testAcks
}

func park(t *testing.T) *lot {
	t.Helper()
	d := dbtest.New(t)
	d.Exec("insert into walpost.relay_state (slot, phase, holder) values ($1, 'streaming', 'me')", d.Slot)
	l := &lot{Database: d, acks: &testAcks{acked: map[uint64]int{}}}
	l.Parker = New(Config{Slot: d.Slot, Acks: l.acks, Log: d.Logs.Logger(), Reached: func() uint64 { return 0 },
		Connect: func(ctx context.Context) (*postgres.DB, error) { return postgres.Connect(ctx, d.DSN) },
		Classify: func(err error) error {
			return pgerror.Classify(err, pgerror.Parking, false, pgerror.Names{Role: "relay", Table: schema.DefaultTable})
		}})
	l.Hold("me")
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { l.Run(ctx) })
	ended.Go(func() { l.Release(ctx) })
	t.Cleanup(func() { cancel(); ended.Wait() })
	return l
}

// locked parks an event while the table is locked, and returns when the parker says that it waits. Commit ends the lock.
func (l *lot) locked(one *schema.DeadLetter) {
	l.T.Helper()
	l.Exec("begin")
	l.Exec("lock table walpost.dead_letters")
	l.Park([]*schema.DeadLetter{one})
	dbtest.Until(l.T, "it waits", func() bool { return l.Parked().Waits != "" })
}

// testSink publishes dead letters: it refuses those of some events, and what comes behind them in their keys comes back.
type testSink struct {
	l      *lot
	refuse map[string]bool // values
	mu     sync.Mutex
	sent   []string
}

func (s *testSink) Replay(letters []*schema.DeadLetter) {
	for _, l := range letters {
		if s.l.Verdict(l.Topic, l.Key, l.At, l.Tx) == schema.Park {
			back := *l
			s.l.Park([]*schema.DeadLetter{&back})
			continue
		}
		s.mu.Lock()
		refused := s.refuse[string(l.Value)]
		if !refused {
			s.sent = append(s.sent, string(l.Value))
		}
		s.mu.Unlock()
		if refused {
			back := *l
			back.Head, back.Code, back.Detail = true, reason.MessageTooLarge, "again"
			s.l.Park([]*schema.DeadLetter{&back})
			continue
		}
		s.l.Acked([]schema.Run{{Tx: l.Tx, Rows: 1}}, 0)
	}
}

func (s *testSink) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.sent, " ")
}

// What is given back is published in order, each key up to an event that is refused again or whose row was spoilt by hand. Then the key
// waits as before. Keys of which nothing is left flow again.
func TestRelease(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l, refuse: map[string]bool{"b2": true}}
	l.Serve(sink)
	n := uint64(0)
	add := func(key, value string, isHead bool) {
		n++
		one := letter(n, key, isHead)
		one.Value = []byte(value)
		if key == "" {
			one.Key = nil
		}
		l.Park([]*schema.DeadLetter{one})
		dbtest.Until(t, value+" is parked", func() bool { return l.acks.is(n) == 1 })
	}
	for _, key := range []string{"a", "b", "c"} {
		for i, value := range []string{"1", "2", "3"} {
			if i > 0 && l.Verdict("t", []byte(key), at(n+1), 0) != schema.Park {
				t.Fatal("a later event is not parked")
			}
			add(key, key+value, i == 0)
		}
	}
	add("", "alone", true)
	states := func(want string) {
		t.Helper()
		dbtest.Until(t, want, func() bool {
			return l.Ask("select string_agg(convert_from(value, 'UTF8') || '=' || state || attempts, ' ' order by position) from walpost.dead_letters") == want
		})
	}
	l.Exec("update walpost.dead_letters set header_names = '{}' where value = 'c2'")
	l.Exec("update walpost.dead_letters set state = 'retrying' where value in ('a1', 'b3', 'c1')")
	states("a1=released0 a2=released0 a3=released0 b1=released0 b2=head1 b3=waiting0 c1=released0 c2=head1 c3=waiting0 alone=head0")
	if got := sink.got(); got != "a1 a2 a3 b1 c1" {
		t.Errorf("published %s", got)
	}
	dbtest.Until(t, "key a flows", func() bool { return l.Parked().Keys == 2 }) // a verdict would make an event wait
	if l.Verdict("t", []byte("a"), at(99), 0) != schema.Send || l.Verdict("t", []byte("b"), at(99), 0) != schema.Park || l.Verdict("t", []byte("c"), at(99), 0) != schema.Park {
		t.Error("key a does not flow, or b or c does")
	}
	l.Exec("update walpost.dead_letters set state = 'retrying' where value = 'alone'")
	dbtest.Until(t, "the event without a key is published", func() bool { return strings.HasSuffix(sink.got(), " alone") })
}

func letter(tx uint64, key string, isHead bool) *schema.DeadLetter {
	return &schema.DeadLetter{At: at(tx), Tx: tx, Held: 10, Topic: "t", Partition: -1, Key: []byte(key), Value: []byte("v\x00"), EventID: []byte("\xff id"), Type: []byte("T"),
		Headers: []schema.DeadHeader{{Name: []byte("n"), Value: nil}, {Name: []byte{0xff}, Value: []byte{}}}, Timestamp: 1700000000123, Head: isHead, Code: reason.MessageTooLarge, Detail: "too\x00 large"}
}

// An event is acked when its dead letter is there, and never twice in the table.
func TestPark(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.Park([]*schema.DeadLetter{letter(1, "a", true)})
	l.Park([]*schema.DeadLetter{letter(2, "a", false), letter(2, "", false)})
	dbtest.Until(t, "3 events are acked", func() bool { return l.acks.is(1) == 1 && l.acks.is(2) == 2 })
	again := letter(1, "a", true)
	again.Tx = 7
	l.Park([]*schema.DeadLetter{again})
	dbtest.Until(t, "the event is acked again", func() bool { return l.acks.is(7) == 1 })
	const want = "head t a message_too_large 'too large' 7600 n|\\377 |0 2023-11-14 22:13:20.123, waiting t a key_parked" // the last two have one position
	got := l.Ask(`select string_agg(concat_ws(' ', state, topic, convert_from(key, 'UTF8'), reason, case when state = 'head' then
		concat_ws(' ', quote_literal(detail), encode(value, 'hex'), (select string_agg(encode(n, 'escape'), '|') from unnest(header_names) n),
		(select string_agg(coalesce(length(v)::text, ''), '|') from unnest(header_values) v), record_timestamp at time zone 'UTC') end), ', ' order by id)
		from walpost.dead_letters`)
	if got != want {
		t.Errorf("parked\n%s, want\n%s", got, want)
	}
	if l.acks.bytes != 40 {
		t.Errorf("%d bytes were given back, want 40", l.acks.bytes)
	}
}

// Whoever no longer has the slot parks nothing, and stops.
func TestFence(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.Exec("update walpost.relay_state set holder = 'another'")
	l.Park([]*schema.DeadLetter{letter(1, "a", true)})
	dbtest.Until(t, "the event is rejected", func() bool { return l.acks.refusal() != nil })
	if err := l.acks.refusal(); !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "has taken slot") || l.acks.is(1) != 0 {
		t.Errorf("%v, acked %d", err, l.acks.is(1))
	}
	if n := l.Ask("select count(*)::text from walpost.dead_letters"); n != "0" {
		t.Errorf("%s dead letters", n)
	}
}

// While the table cannot be written, events wait, and the log says why once. They are acked afterwards.
func TestParkingWaits(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.locked(letter(1, "a", true))
	if l.acks.is(1) != 0 {
		t.Error("acked before it was parked")
	}
	l.Exec("commit")
	dbtest.Until(t, "the event is acked", func() bool { return l.acks.is(1) == 1 })
	dbtest.Until(t, "the log", func() bool { return l.Logs.Has("events are parked again") })
	if n := l.Logs.Count("events cannot be parked"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// Without a session, events are acked and not parked: Postgres delivers them again, to this relay or to another one.
func TestNothingIsParkedBetweenSessions(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.locked(letter(1, "a", true))
	l.Hold("")
	l.Park([]*schema.DeadLetter{letter(2, "b", true)})
	dbtest.Until(t, "the events are acked", func() bool { return l.acks.is(1) == 1 && l.acks.is(2) == 1 })
	l.Exec("commit")
	if n := l.Ask("select count(*)::text from walpost.dead_letters"); n != "0" {
		t.Errorf("%s are parked", n)
	}
	if err := l.acks.refusal(); err != nil {
		t.Error(err)
	}
}

// A bad row that is delivered again, and has a dead letter, is acked and parks nothing.
func TestBadRowAgain(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.Exec("insert into walpost.dead_letters (slot, position, topic, key, reason, state) values ($1, $2, 't', 'a', 'x', 'discarded')", l.Slot, at(5).String())
	db, err := postgres.Connect(t.Context(), l.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := l.Load(t.Context(), db, "me", at(5)); err != nil {
		t.Fatal(err)
	}
	l.Park([]*schema.DeadLetter{letter(5, "a", true)})
	if l.acks.is(5) != 1 || l.Verdict("t", []byte("a"), at(6), 0) != schema.Send {
		t.Error("its key is parked")
	}
	if l.Verdict("t", []byte("a"), at(5), 0) != schema.Settle {
		t.Error("it would be sent")
	}
}

// An insert that can never succeed stops the relay, with the cure.
func TestParkingRefused(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ sql, cure string }{
		"constraint": {"alter table walpost.dead_letters add check (topic <> 't')", "walpost schema check"},
		"no table":   {"drop table walpost.dead_letters", "walpost schema apply"},
	} {
		t.Run(what, func(t *testing.T) {
			l := park(t)
			l.Exec(c.sql)
			l.Park([]*schema.DeadLetter{letter(1, "a", true)})
			dbtest.Until(t, "the event is rejected", func() bool { return l.acks.refusal() != nil })
			if err := l.acks.refusal(); !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), c.cure) || l.acks.is(1) != 0 {
				t.Errorf("%v, acked %d", err, l.acks.is(1))
			}
		})
	}
}
