package parking

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	acks    *testAcks
	reached atomic.Uint64
	handed  atomic.Uint64
}

func park(t *testing.T) *lot {
	t.Helper()
	d := dbtest.New(t)
	d.Exec("insert into walpost.relay_state (slot, phase, holder) values ($1, 'streaming', 'me')", d.Slot)
	l := &lot{Database: d, acks: &testAcks{acked: map[uint64]int{}}}
	l.handed.Store(1 << 40)
	l.Parker = New(Config{Slot: d.Slot, Parks: true, Acks: l.acks, Log: d.Logs.Logger(), Reached: l.reached.Load, Handed: l.handed.Load,
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
	l       *lot
	lane    sync.Mutex      // an event gets its verdict, and is sent
	refuse  map[string]bool // values
	mu      sync.Mutex
	sent    []string
	first   []string      // those that go before what has not been sent yet
	gate    chan struct{} // what is given back waits until it is closed; nil: it is
	waits   atomic.Int32
	stuck   string // this topic takes no records
	missing string // this topic does not exist
	away    error  // why the partitions are not known; nil: the topic does not exist

	holds bool // a lane holds replays, and has not passed them through the sieve
	held  []schema.DeadLetter

	absent atomic.Bool        // the partitions of all topics are not known
	older  atomic.Bool        // the sink has an event that is older than all that were parked
	before func(value string) // is called before an event that is given back, or has waited, is sent
	asked  atomic.Int32
	marked atomic.Int32 // events with the header walpost_replay
	denied atomic.Int32 // events that were refused
}

func (s *testSink) Replay(letters []*schema.DeadLetter, first bool) {
	if s.gate != nil {
		s.waits.Add(1)
		<-s.gate
	}
	if letters[0].Topic == s.stuck {
		s.waits.Add(1)
		return
	}
	s.mu.Lock()
	holds := s.holds
	for i := 0; holds && i < len(letters); i++ {
		s.held = append(s.held, *letters[i])
	}
	s.mu.Unlock()
	if holds {
		return
	}
	for _, l := range letters {
		if s.before != nil {
			s.before(string(l.Value))
		}
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
		if first {
			s.first = append(s.first, string(l.Value))
		}
		s.mu.Unlock()
		if l.Retried {
			s.marked.Add(1)
		}
		if refused {
			s.denied.Add(1)
			back := *l
			back.Head, back.Code, back.Detail, back.Cure = true, reason.MessageTooLarge, "again", "raise the limit"
			s.l.Park([]*schema.DeadLetter{&back})
			continue
		}
		s.l.Acked([]schema.Run{{Tx: l.Tx, Rows: 1}}, 0)
	}
}

func (s *testSink) Ready(topic string) error {
	s.asked.Add(1)
	if s.absent.Load() && s.away != nil {
		return s.away
	}
	if s.absent.Load() || topic == s.missing {
		return reason.With(reason.TopicMissing, errors.New("there is no such topic"))
	}
	return nil
}

// Abandon lets go what a lane holds: it comes back, because nothing is sent any more.
func (s *testSink) Abandon() { s.sift() }

// sift passes what a lane holds through the sieve.
func (s *testSink) sift() {
	s.mu.Lock()
	held := s.held
	s.held, s.holds = nil, false
	s.mu.Unlock()
	for _, l := range held {
		s.Replay([]*schema.DeadLetter{&l}, false)
	}
}

// inLane returns how many replays a lane holds.
func (s *testSink) inLane() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}

func (s *testSink) Oldest(string) time.Time {
	if s.older.Load() {
		return time.Unix(1, 0)
	}
	return time.Time{}
}

func (s *testSink) ResumeTopic(_ string, letters []*schema.DeadLetter, flow func() bool) bool {
	s.lane.Lock()
	defer s.lane.Unlock()
	if !flow() {
		return false
	}
	for _, l := range letters {
		s.send(string(l.Value))
		s.l.Acked([]schema.Run{{Tx: l.Tx, Rows: 1}}, l.Held)
	}
	return true
}

func (s *testSink) Resume(_ *schema.DeadLetter, flow func(func([]*schema.DeadLetter) bool) ([]*schema.DeadLetter, bool)) bool {
	s.lane.Lock()
	defer s.lane.Unlock()
	letters, flows := flow(func([]*schema.DeadLetter) bool { return true })
	if !flows {
		return false
	}
	for _, l := range letters {
		s.send(string(l.Value))
		s.l.Acked([]schema.Run{{Tx: l.Tx, Rows: 1}}, l.Held)
	}
	return true
}

func (s *testSink) send(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, value)
}

// stream sends an event of the stream, or parks it.
func (s *testSink) stream(l *schema.DeadLetter) schema.Verdict {
	s.lane.Lock()
	v := s.l.Verdict(l.Topic, l.Key, l.At, l.Tx)
	if v == schema.Send {
		s.send(string(l.Value))
		s.l.Acked([]schema.Run{{Tx: l.Tx, Rows: 1}}, l.Held)
	}
	s.lane.Unlock()
	if v == schema.Park || v == schema.Wait {
		l.Blocked = v == schema.Wait
		s.l.Park([]*schema.DeadLetter{l})
	}
	return v
}

func (s *testSink) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.sent, " ")
}

// firsts returns the events that went before what had not been sent yet.
func (s *testSink) firsts() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.first, " ")
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
	if n := l.Logs.Count("a parked key flows again"); n != 1 {
		t.Errorf("%d keys flowed", n)
	}
	l.Exec("update walpost.dead_letters set state = 'retrying' where value = 'alone'")
	dbtest.Until(t, "the event without a key is published", func() bool { return strings.HasSuffix(sink.got(), " alone") })
}

// A key that gets events all the time flows again when it was given back, and each of its events is published once, in order.
func TestHotKeyFlows(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l}
	l.Serve(sink)
	l.Park([]*schema.DeadLetter{letter(1, "a", true)})
	dbtest.Until(t, "the first event is parked", func() bool { return l.acks.is(1) == 1 })
	n := uint64(1)
	for began, passed := time.Now(), 0; passed < 100; {
		n++
		one := letter(n, "a", false)
		one.Value = []byte(fmt.Sprint(n))
		if sink.stream(one) == schema.Send {
			passed++
		}
		if n == 200 {
			l.Exec("update walpost.dead_letters set state = 'retrying' where state in ('head', 'waiting')")
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("after %d events the key does not flow: %+v", n, l.Parked())
		}
		time.Sleep(100 * time.Microsecond) // the pace of the events
	}
	dbtest.Until(t, "all events are acked", func() bool { return l.acks.is(n) == 1 })
	want := []string{"v\x00"}
	for i := uint64(2); i <= n; i++ {
		want = append(want, fmt.Sprint(i))
	}
	if got := sink.got(); got != strings.Join(want, " ") {
		t.Errorf("published %s", got)
	}
	if l.Parked().Keys != 0 || l.Ask("select count(*)::text from walpost.dead_letters where state <> 'released'") != "0" {
		t.Error("something is parked")
	}
	if l.acks.bytes != int(n)*10 {
		t.Errorf("%d bytes were given back, want %d", l.acks.bytes, n*10)
	}
}

func letter(tx uint64, key string, isHead bool) *schema.DeadLetter {
	return &schema.DeadLetter{At: at(tx), Tx: tx, Held: 10, Topic: "t", Partition: -1, Key: []byte(key), Value: []byte("v\x00"), EventID: []byte("\xff id"), Type: []byte("T"),
		Headers: slices.Values([]schema.DeadHeader{{Name: []byte("id"), Value: []byte("\xff id")}, {Name: []byte("n"), Value: nil}, {Name: []byte{0xff}, Value: []byte{}}}), Timestamp: 1700000000123, Head: isHead, Code: reason.MessageTooLarge, Detail: "too\x00 large"}
}

// Events that come at nearly the same time share a transaction, and a connection stays open while events come.
func TestEventsShareATransaction(t *testing.T) {
	t.Parallel()
	l := park(t)
	const rounds, each = 20, 10
	const parkers = ` from pg_stat_activity where datname = current_database() and query = 'commit' and pid <> pg_backend_pid()`
	connections := map[string]bool{}
	for n := range uint64(rounds) {
		begin := time.Now()
		for i := range uint64(each) {
			l.Park([]*schema.DeadLetter{letter(1+each*n+i, "a", i == 0)})
		}
		dbtest.Until(t, "they are acked", func() bool { return l.acks.is(each*(n+1)) == 1 })
		if took := time.Since(begin); took < gatherFor {
			t.Errorf("they waited only %v for others", took)
		}
		connections[l.Ask("select coalesce(min(pid)::text, 'none')"+parkers)] = true
	}
	if len(connections) > rounds/2 || connections["none"] {
		t.Errorf("connections: %v", connections)
	}
	dbtest.Until(t, "the connection is closed when nothing comes", func() bool {
		return l.Ask("select count(*)::text"+parkers) == "0"
	})
}

// The connection was lost while nothing came: nobody has to know.
func TestIdleConnectionIsLost(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.Park([]*schema.DeadLetter{letter(1, "a", true)})
	dbtest.Until(t, "it is acked", func() bool { return l.acks.is(1) == 1 })
	l.Exec("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	l.Park([]*schema.DeadLetter{letter(2, "a", false)})
	dbtest.Until(t, "the next one is acked", func() bool { return l.acks.is(2) == 1 })
	if l.Logs.Has("cannot be parked") {
		t.Error("the log has a warning")
	}
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
	const want = "head t a message_too_large 'too large' 7600 id|n|\\377 4||0 2023-11-14 22:13:20.123, waiting t a key_parked" // the last two have one position
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

// Dead letters that are over are emptied when Postgres cannot deliver their events again, and deleted after 30 days. Others stay as they are.
func TestPurge(t *testing.T) {
	t.Parallel()
	l := park(t)
	n := uint64(0)
	add := func(name, state, age string, lsn uint64) {
		n++
		at := schema.Position{Timeline: 1 + uint32(n%2), LSN: lsn, Index: uint32(n)} // positions of older timelines are over, too
		l.Exec(`insert into walpost.dead_letters (slot, position, event_id, value, header_names, header_values, reason, state, updated_at)
			values ($1, $2, $3, 'v', '{id}', '{1}', 'x', $4, clock_timestamp() - $5::text::interval)`, l.Slot, at.String(), name, state, age)
	}
	add("old", "released", "31 days", 99)
	add("given up", "discarded", "31 days", 99)
	add("young", "released", "29 days", 99)
	add("parked", "head", "31 days", 99)
	add("waits", "waiting", "31 days", 99)
	add("back", "retrying", "31 days", 99)
	add("unconfirmed", "released", "31 days", 100)
	add("drained", "released", "0 days", 99)
	add("drained, unconfirmed", "released", "0 days", 100)
	l.Exec("update walpost.dead_letters set reason = 'topic_blocked' where event_id like 'drained%' or event_id = 'waits'")
	l.Exec(`insert into walpost.dead_letters (slot, position, event_id, value, reason, state, updated_at) values ('another', $1, 'others', 'v', 'x', 'released', '2020-01-01')`, at(1).String())
	c := l.connection()
	defer c.close()
	if more, err := purge(t.Context(), c, "me", 100); more || err != nil {
		t.Fatal(more, err)
	}
	const want = "back v1, drained, unconfirmed v1, others v0, parked v1, unconfirmed v1, waits v1, young -0"
	if got := l.Ask(`select string_agg(event_id || ' ' || coalesce(convert_from(value, 'UTF8'), '-') || cardinality(header_names), ', ' order by event_id) from walpost.dead_letters`); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, err := purge(t.Context(), c, "another", 100); err == nil {
		t.Error("a session that has not got the slot purges")
	}
}

// At a stop, what is being published is still recorded, and nothing more is published.
func TestRest(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l, gate: make(chan struct{})}
	l.Serve(sink)
	for i, key := range []string{"a", "b"} {
		one := letter(uint64(i+1), key, true)
		one.Topic = "of " + key
		l.Park([]*schema.DeadLetter{one})
	}
	dbtest.Until(t, "both are parked", func() bool { return l.acks.is(1)+l.acks.is(2) == 2 })
	l.Exec("update walpost.dead_letters set state = 'retrying' where key = 'a'")
	dbtest.Until(t, "one is being published", func() bool { return sink.waits.Load() == 1 })
	ended := make(chan struct{})
	go func() {
		l.Rest(t.Context())
		close(ended)
	}()
	dbtest.Until(t, "it rests", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.resting
	})
	if l.begin() {
		close(sink.gate)
		t.Fatal("something more may be published")
	}
	l.Exec("update walpost.dead_letters set state = 'retrying' where key = 'b'")
	select {
	case <-ended:
		t.Error("it does not wait for what is being published")
	default:
	}
	close(sink.gate)
	<-ended
	if got := l.Ask("select string_agg(state, ' ' order by position) from walpost.dead_letters"); got != "released retrying" {
		t.Errorf("after the rest: %s", got)
	}
}

// add parks an event of key a: the head, or a later one that waits.
func (l *lot) add(n uint64, value string, isHead bool) {
	l.T.Helper()
	one := letter(n, "a", isHead)
	one.Value = []byte(value)
	if !isHead && l.Verdict("t", one.Key, one.At, n) != schema.Park {
		l.T.Fatalf("event %s is not parked", value)
	}
	l.Park([]*schema.DeadLetter{one})
	dbtest.Until(l.T, value+" is parked", func() bool { return l.acks.is(n) == 1 })
}

// values returns the events of the table with their states, in order.
func (l *lot) values() string {
	return l.Ask("select coalesce(string_agg(convert_from(value, 'UTF8') || '=' || state, ' ' order by position), '') from walpost.dead_letters")
}

// What a transaction gave back that was rolled back waits as before. So later events of the key do not come before it.
func TestTakeIsRolledBack(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l}
	l.Serve(sink)
	l.add(1, "1", true)
	l.add(2, "2", false)
	l.Exec("create sequence once")
	l.Exec(`create function fail_once() returns trigger language plpgsql as $$ begin if nextval('once') = 1 then raise exception 'rolled back'; end if; return null; end $$`)
	l.Exec("begin") // event 2 was parked after the person's retry, and before the relay looks
	l.Exec("update walpost.dead_letters set state = 'retrying' where value = '1'")
	l.Exec(`create constraint trigger x after update on walpost.dead_letters deferrable initially deferred for each row when (new.state = 'retrying') execute function fail_once()`)
	l.Exec("commit")
	dbtest.Until(t, "it was rolled back", func() bool { return l.Logs.Has("rolled back") })
	l.add(3, "3", false)
	const want = "1=released 2=released 3=released"
	dbtest.Until(t, want, func() bool { return l.values() == want })
	if got := sink.got(); got != "1 2 3" {
		t.Errorf("published %s", got)
	}
}

// An event that is refused while its key is being published waits, and so does what comes behind it: nobody has given it back.
func TestHeadDuringRelease(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l, gate: make(chan struct{})}
	l.Serve(sink)
	l.add(1, "1", true)
	l.Exec("update walpost.dead_letters set state = 'retrying'")
	dbtest.Until(t, "it is being published", func() bool { return sink.waits.Load() == 1 })
	l.add(2, "2", true)
	l.add(3, "3", false)
	if got := l.values(); got != "1=retrying 2=head 3=waiting" {
		t.Errorf("while it is being published, the table has %s", got)
	}
	close(sink.gate)
	const want = "1=released 2=head 3=waiting"
	dbtest.Until(t, want, func() bool { return l.values() == want })
	l.Exec("insert into walpost.dead_letters (slot, position, topic, key, value, reason, state, record_timestamp, header_names, header_values) values ($1, $2, 'u', 'b', 'last', 'x', 'retrying', now(), '{id}', '{e9}')", l.Slot, at(9).String())
	dbtest.Until(t, "a later round", func() bool { return strings.HasSuffix(sink.got(), "last") })
	if got := sink.got(); got != "1 last" || !strings.HasPrefix(l.values(), want) {
		t.Errorf("published %s, table %s", got, l.values())
	}
}

// A topic that takes no records does not hold up others, however large its events are.
func TestStuckTopic(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l, stuck: "t"}
	l.Serve(sink)
	big, other := letter(1, "a", true), letter(2, "b", true)
	big.Value, other.Topic, other.Value = make([]byte, mostReplayed+1), "u", []byte("other")
	l.Park([]*schema.DeadLetter{big, other})
	dbtest.Until(t, "both are parked", func() bool { return l.acks.is(1)+l.acks.is(2) == 2 })
	l.Exec("update walpost.dead_letters set state = 'retrying' where topic = 't'")
	dbtest.Until(t, "one is being published", func() bool { return sink.waits.Load() == 1 })
	l.Exec("update walpost.dead_letters set state = 'retrying' where topic = 'u'")
	dbtest.Until(t, "the other one is published", func() bool { return sink.got() == "other" })
}

// What the stream of this session has not reached is not published: older events of its key may not have been sent yet.
func TestNothingComesBeforeTheStream(t *testing.T) {
	t.Parallel()
	l := park(t)
	handed := atomic.Uint64{}
	handed.Store(2)
	l.cfg.Handed = handed.Load
	sink := &testSink{l: l}
	l.Serve(sink)
	l.add(1, "1", true)
	l.add(2, "2", false)
	l.Exec("update walpost.dead_letters set state = 'retrying'")
	dbtest.Until(t, "the first one is published", func() bool { return l.values() == "1=released 2=retrying" })
	if got := sink.got(); got != "1" {
		t.Errorf("published %s", got)
	}
	handed.Store(3)
	dbtest.Until(t, "the second one is published", func() bool { return sink.got() == "1 2" })
}

// A refused event counts once, and not if it has a dead letter already, as after a restart. If its session ends before it is parked, it is
// delivered and refused again, and does not count again. A retry counts each time.
func TestRefusedCountsOnce(t *testing.T) {
	t.Parallel()
	l := park(t)
	refused := func(n uint64, want bool) {
		t.Helper()
		if got := l.Refused(at(n), n); got != want {
			t.Errorf("event %d counts: %v, want %v", n, got, want)
		}
	}
	refused(1, true)
	l.Park([]*schema.DeadLetter{letter(1, "a", true)})
	dbtest.Until(t, "it is parked", func() bool { return l.acks.is(1) == 1 })
	refused(2, true)
	l.locked(letter(2, "b", true))
	l.Hold("") // the session ends
	dbtest.Until(t, "it is dropped", func() bool { return l.acks.is(2) == 1 })
	l.Exec("commit")

	db := &postgres.DB{Conn: l.Conn}
	if err := l.Load(t.Context(), db, "me", schema.Position{}); err != nil {
		t.Fatal(err)
	}
	refused(1, false)
	refused(2, false)
	l.Park([]*schema.DeadLetter{letter(1, "a", true), letter(2, "b", true)})
	dbtest.Until(t, "it is parked", func() bool { return l.acks.is(2) == 2 })
	for range 2 {
		if !l.Refused(at(1), schema.ReplayTx|1) {
			t.Error("a retry does not count")
		}
	}
	l.keys.mu.Lock()
	defer l.keys.mu.Unlock()
	if len(l.keys.refused) > 0 {
		t.Errorf("%v stay in memory", l.keys.refused)
	}
}
