package parking

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/relay/internal/dbtest"
	"walpost/relay/postgres"
	"walpost/schema"
)

// blockedLot is a lot with a topic that takes no records.
type blockedLot struct {
	*lot
	sink *testSink
	n    uint64
}

func blocked(t *testing.T, code reason.Code) *blockedLot {
	t.Helper()
	b := &blockedLot{lot: park(t)}
	b.sink = &testSink{l: b.lot, refuse: map[string]bool{}}
	b.sink.absent.Store(true)
	b.Serve(b.sink)
	b.Block("t", code, "the broker says so", "a cure")
	return b
}

// come streams events: a1 is of key a; one that begins with - has no key. It waits until each is sent, or in the table.
func (b *blockedLot) come(values ...string) {
	b.T.Helper()
	for _, v := range values {
		b.n++
		n := b.n
		one := letter(n, v[:1], false)
		one.Value = []byte(v)
		if v[0] == '-' {
			one.Key = nil
		}
		b.sink.stream(one)
		dbtest.Until(b.T, v+" is acked", func() bool { return b.acks.is(n) == 1 })
	}
}

// tried reports whether it was tried to publish what waits, and that is over.
func (b *blockedLot) tried() bool {
	b.keys.mu.Lock()
	defer b.keys.mu.Unlock()
	to := b.keys.topics["t"]
	return to == nil || !to.tried.IsZero() && !to.draining
}

// waiting are the events that wait, with ! for those that wait for a person.
func (b *blockedLot) waiting() string {
	return b.Ask("select coalesce(string_agg(convert_from(value, 'UTF8') || case when reason = 'topic_blocked' then '' else '!' end, ' ' order by position), '') from walpost.dead_letters where state in ('head', 'waiting')")
}

// All events of a topic that takes no records wait in the table. When it takes records they are published in order, without walpost_replay, and
// then the topic flows.
func TestTopicWaits(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1", "b2", "-3", "a4")
	if got := b.waiting(); got != "a1 b2 -3 a4" {
		t.Errorf("waiting: %s", got)
	}
	if detail := b.Ask("select distinct detail from walpost.dead_letters"); detail != "topic_missing: the broker says so" {
		t.Errorf("the detail is %s", detail)
	}
	p := b.Parked()
	if len(p.Topics) != 1 || p.Topics[0].Events != 4 || p.Topics[0].Bytes == 0 || p.Topics[0].Cure != "a cure" || p.Keys != 0 {
		t.Errorf("parked: %+v", p)
	}
	if v := b.Verdict("u", []byte("a"), at(100), 1); v != schema.Send {
		t.Errorf("an event of another topic has verdict %d", v)
	}
	b.reached.Store(3) // a1 and b2 are confirmed
	b.sink.absent.Store(false)
	dbtest.Until(t, "the topic flows", func() bool { return !b.Blocked("t") })
	b.come("a5")
	if got := b.sink.got(); got != "a1 b2 -3 a4 a5" || b.sink.marked.Load() != 0 {
		t.Errorf("published %s, %d of them marked", got, b.sink.marked.Load())
	}
	if rows := b.values(); rows != "-3=released a4=released" {
		t.Errorf("the table has %s", rows)
	}
	if !b.Logs.Has("a topic takes records again") {
		t.Error("the log does not say so")
	}
}

// Events come all the time while the rest is published: the topic flows all the same, in order.
func TestTopicThatNeverPauses(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	stop, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for tick := time.NewTicker(time.Millisecond); ; n++ {
			select {
			case <-stop:
				ended <- n
				return
			case <-tick.C:
				one := letter(uint64(n+1), fmt.Sprint(n%7), false)
				one.Value = fmt.Append(nil, n)
				b.sink.stream(one)
			}
		}
	}()
	dbtest.Until(t, "events are parked", func() bool { return b.Parked().Topics[0].Events > 100 })
	b.sink.absent.Store(false)
	dbtest.Until(t, "the topic flows", func() bool { return !b.Blocked("t") })
	close(stop)
	n := <-ended
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
	}
	dbtest.Until(t, "everything is published", func() bool { return len(strings.Fields(b.sink.got())) >= n }) // the topic flows a moment before the last of it is sent
	if got := b.sink.got(); got != strings.Join(want, " ") {
		t.Errorf("published out of order, or not everything: %s", got)
	}
}

// What is not confirmed is published only when the sink has nothing older of the topic.
func TestNothingOlderIsOvertaken(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1", "a2", "a3")
	b.sink.older.Store(true)
	b.reached.Store(2)
	b.sink.absent.Store(false)
	dbtest.Until(t, "something is published", func() bool { return b.sink.got() != "" })
	asked := b.sink.asked.Load()
	dbtest.Until(t, "it was tried again", func() bool { return b.sink.asked.Load() > asked+2 || b.sink.got() != "a1" })
	if got := b.sink.got(); got != "a1" || !b.Blocked("t") {
		t.Errorf("published %s although an older event may come", got)
	}
	b.sink.older.Store(false)
	dbtest.Until(t, "the topic flows", func() bool { return !b.Blocked("t") })
	if got := b.sink.got(); got != "a1 a2 a3" {
		t.Errorf("published %s", got)
	}
}

// An event that is refused becomes the head of its key. What comes behind it in the key waits for a person, and all others are published.
func TestRefusedWhileDrained(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1", "b2", "b3", "c4", "b5", "a6")
	b.sink.refuse["b3"] = true
	b.reached.Store(100)
	b.sink.absent.Store(false)
	dbtest.Until(t, "the topic flows", func() bool { return !b.Blocked("t") })
	b.come("b7", "a8")
	if got := b.sink.got(); got != "a1 b2 c4 a6 a8" {
		t.Errorf("published %s", got)
	}
	if got := b.values(); got != "b3=head b5=waiting b7=waiting" || b.waiting() != "b3! b5! b7!" {
		t.Errorf("the table has %s", got)
	}
	if n := b.Parked().Keys; n != 1 {
		t.Errorf("%d keys are parked", n)
	}
}

// Also what comes in a later round waits behind an event that was refused.
func TestRefusedInALaterRound(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("b1", "b2", "a3") // the first one is tried alone
	b.sink.refuse["b1"] = true
	b.reached.Store(100)
	b.sink.absent.Store(false)
	dbtest.Until(t, "the topic flows", func() bool { return !b.Blocked("t") })
	if got := b.sink.got(); got != "a3" || b.waiting() != "b1! b2!" {
		t.Errorf("published %s; waiting: %s", got, b.waiting())
	}
}

// Keys that were parked before their topic was blocked stay parked, with what came of them meanwhile.
func TestParkedKeyInABlockedTopic(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1")
	b.n++
	first := letter(b.n, "b", true)
	first.Value = []byte("b2")
	b.Park([]*schema.DeadLetter{first})
	b.come("b3", "a4")
	if got := b.waiting(); got != "a1 b2! b3! a4" {
		t.Errorf("waiting: %s", got)
	}
	b.Exec("update walpost.dead_letters set state = 'retrying' where reason <> 'topic_blocked'")
	b.reached.Store(100)
	b.sink.absent.Store(false)
	dbtest.Until(t, "everything flows", func() bool { return !b.Blocked("t") && b.Parked().Keys == 0 })
	if got := b.sink.got(); got != "a1 a4 b2 b3" || b.sink.marked.Load() != 2 {
		t.Errorf("published %s, %d of them marked", got, b.sink.marked.Load())
	}
}

// A topic that refuses its records is tried with its first event, which stays where it is when it is refused again.
func TestTopicThatRefusesIsProbed(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.MessageTooLarge)
	b.come("a1", "b2")
	b.sink.refuse["a1"], b.sink.refuse["b2"] = true, true
	b.reached.Store(100)
	b.sink.absent.Store(false)
	dbtest.Until(t, "it was tried", b.tried)
	if got := b.waiting(); got != "a1 b2" || b.Parked().Keys != 0 || !b.Blocked("t") {
		t.Errorf("waiting: %s, %d keys are parked", got, b.Parked().Keys)
	}
	b.sink.mu.Lock()
	delete(b.sink.refuse, "a1")
	b.sink.mu.Unlock()
	b.keys.mu.Lock()
	b.keys.topics["t"].tried = time.Time{} // half a minute later
	b.keys.mu.Unlock()
	dbtest.Until(t, "the topic flows", func() bool { return !b.Blocked("t") })
	if got := b.sink.got(); got != "a1" || b.waiting() != "b2!" {
		t.Errorf("published %s; waiting: %s", got, b.waiting())
	}
}

// Keys whose events were refused before their topic was blocked for that reason wait for the topic, and not for a person.
func TestAbsorbedKeys(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.MessageTooLarge)
	for _, key := range []string{"a", "b"} {
		b.n++
		n := b.n
		one := letter(n, key, true)
		one.Value = []byte(key + fmt.Sprint(n))
		b.Park([]*schema.DeadLetter{one})
		dbtest.Until(t, "it is parked", func() bool { return b.acks.is(n) == 1 })
	}
	b.come("a3")
	b.Absorb("t", [][]byte{[]byte("a"), []byte("z")})
	b.come("a4", "b5")
	if got := b.waiting(); got != "a1! b2! a3! a4 b5!" {
		t.Errorf("waiting: %s", got)
	}
	b.reached.Store(100)
	b.sink.absent.Store(false)
	dbtest.Until(t, "the topic flows", func() bool { return !b.Blocked("t") })
	if got := b.sink.got(); got != "a1 a3 a4" || b.waiting() != "b2! b5!" || b.sink.marked.Load() != 0 {
		t.Errorf("published %s; waiting: %s", got, b.waiting())
	}
}

// When as much is parked as may be, events wait in memory, until something is discarded.
func TestParkedLimit(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.cfg.Most = 1
	b.come("a1")
	two := letter(2, "a", false)
	two.Value = []byte("a2")
	b.sink.stream(two)
	dbtest.Until(t, "it waits", func() bool { return b.Parked().WaitsCode == reason.ParkedLimit })
	if got := b.waiting(); got != "a1" {
		t.Errorf("waiting: %s", got)
	}
	b.Exec("update walpost.dead_letters set state = 'discarded'")
	dbtest.Until(t, "it is parked", func() bool { return b.acks.is(2) == 1 })
	if got := b.waiting(); got != "a2" {
		t.Errorf("waiting: %s", got)
	}
}

// A new session knows the topics that take no records, and why, from the table.
func TestBlockedTopicsAreLoaded(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.MessageTooLarge)
	b.come("a1", "b2")
	next := newKeys()
	db, err := postgres.Connect(t.Context(), b.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = inTx(t.Context(), db.Conn, b.Slot, "me", "3s", func(ctx context.Context, tx pgx.Tx) error {
		all, err := readTable(ctx, tx, b.Slot, at(0))
		if err == nil {
			next.replace(all)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	topics := next.waiting()
	if len(topics) != 1 || topics[0].Code != reason.MessageTooLarge || topics[0].Detail != "the broker says so" || len(next.parked) != 0 {
		t.Errorf("%+v", topics)
	}
	if v := next.verdict("t", []byte("a"), at(9), false); v != schema.Wait {
		t.Errorf("verdict %d", v)
	}
}

// When a session has ended, nothing is sent any more: what is on its way is acked, and comes again.
func TestEndedSessionSendsNothing(t *testing.T) {
	k := newKeys()
	k.end(true)
	if !k.sifting.Load() || k.verdict("t", []byte("a"), at(1), false) != schema.Settle || k.verdict("t", []byte("a"), at(1), true) != schema.Park || !k.stalled("t", false) {
		t.Error("something is sent")
	}
	k.end(false)
	if k.sifting.Load() || k.verdict("t", []byte("a"), at(1), false) != schema.Send || k.stalled("t", true) {
		t.Error("nothing is sent")
	}
}

// An event that has a released dead letter waits once more if an older event of its key is delivered again and waits for the topic.
func TestReleasedEventWaitsBehindItsKey(t *testing.T) {
	k := newKeys()
	a := &repeat{highest: at(7)}
	k.replace(&table{settled: settledAt(true, 5, 7), repeats: map[name]*repeat{{"t", "a"}: a}, topics: []Waiting{{Topic: "t"}}})
	verdict := func(p uint64) schema.Verdict { return k.verdict("t", []byte("a"), at(p), false) }
	if verdict(5) != schema.Settle || verdict(4) != schema.Wait || verdict(5) != schema.Wait || verdict(7) != schema.Wait {
		t.Error("what was released does not follow")
	}
}

// A topic flows only when none of its events is on its way to the table, and only in the last step that has kept what came.
func TestTopicFlowsInItsLastStep(t *testing.T) {
	k := newKeys()
	k.block(Waiting{Topic: "t"})
	come := func(p uint64) {
		k.verdict("t", []byte("a"), at(p), false)
		k.hold(&schema.DeadLetter{Topic: "t", Key: []byte("a"), At: at(p), Blocked: true})
	}
	old := k.keepTopic("t", nil, schema.Position{})
	come(1)
	k.written(k.endLastOf("t"))
	step := k.keepTopic("t", nil, schema.Position{})
	come(2)
	if k.flowTopic("t", old, 1) || k.flowTopic("t", step, 0) || k.keepTopic("t", nil, schema.Position{}) != nil {
		t.Error("it flows in another step, or without what was kept, or begins a second step")
	}
	k.verdict("t", []byte("b"), at(3), false) // it has not arrived yet
	if k.complete("t", step) || k.flowTopic("t", step, 1) {
		t.Error("it flows while an event is on its way")
	}
	k.hold(&schema.DeadLetter{Topic: "t", Key: []byte("b"), At: at(3), Blocked: true})
	if kept, ok := k.keptOf("t", step); !ok || len(kept) != 2 || !k.complete("t", step) || !k.flowTopic("t", step, 2) || k.sifting.Load() {
		t.Errorf("it does not flow with %d events", len(kept))
	}
}

// A topic's last step does not begin while an event that was picked may be in the table already. It keeps what waits in the queue.
func TestKeepTopic(t *testing.T) {
	p := New(Config{})
	p.keys.block(Waiting{Topic: "t"})
	for n := range uint64(3) {
		p.keys.verdict("t", []byte("a"), at(n), false)
		p.queue.push(&schema.DeadLetter{Topic: "t", Key: []byte("a"), At: at(n), Blocked: true})
	}
	p.queue.push(&schema.DeadLetter{Topic: "u", Key: []byte("a"), At: at(9), Blocked: true})
	p.queue.picked = 1
	if p.keepTopic("t", schema.Position{}) != nil || p.queue.len() != 4 {
		t.Error("it begins although an event may be in the table")
	}
	p.queue.picked = 0
	step := p.keepTopic("t", schema.Position{})
	if kept, _ := p.keys.keptOf("t", step); len(kept) != 3 || p.queue.len() != 1 {
		t.Errorf("%d events are kept, %d go to the table", len(kept), p.queue.len())
	}
	if p.endLastOf("t"); p.queue.len() != 4 {
		t.Errorf("%d events go to the table in the end", p.queue.len())
	}
}

// What was kept goes to the table when it is too much.
func TestLastStepOfATopicIsLimited(t *testing.T) {
	k := newKeys()
	k.block(Waiting{Topic: "t"})
	k.keepTopic("t", nil, schema.Position{})
	for n := range uint64(3) {
		one := &schema.DeadLetter{Topic: "t", At: at(n), Blocked: true, Held: mostKept - 1}
		if _, kept, back := k.hold(one); kept != (n < 2) || len(back) != 2*int(n/2) {
			t.Errorf("event %d: kept %t, %d go to the table", n, kept, len(back))
		}
	}
}

// An event waits once more if it was released and is to be sent again. One that was discarded stays so.
func TestWaitsOnceMore(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1", "a2")
	b.Exec("update walpost.dead_letters set state = case when value = 'a1' then 'released' else 'discarded' end")
	for n := range uint64(2) {
		again := letter(n+1, "a", false)
		again.Blocked, again.Value, again.Tx = true, []byte("again"), n+11
		b.Park([]*schema.DeadLetter{again})
		dbtest.Until(t, "it is acked", func() bool { return b.acks.is(n+11) == 1 })
	}
	if got := b.values(); got != "again=waiting a2=discarded" {
		t.Errorf("the table has %s", got)
	}
	if detail := b.Ask("select detail from walpost.dead_letters where state = 'waiting'"); detail != "topic_missing: the broker says so" {
		t.Errorf("the detail is %s", detail)
	}
}

// A relay that no longer has the slot publishes nothing, and deletes nothing.
func TestFenceOfDrain(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1")
	b.reached.Store(100)
	b.Exec("update walpost.relay_state set holder = 'another'")
	b.sink.absent.Store(false)
	dbtest.Until(t, "it was tried", func() bool { return b.tried() || b.sink.got() != "" })
	if got := b.values(); got != "a1=waiting" || b.sink.got() != "" {
		t.Errorf("the table has %s; published %s", got, b.sink.got())
	}
}

// An event that is older than all that waits may come again after a restart. Nothing that is not confirmed is published before it, and it is
// published first.
func TestOlderEventComesAgain(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.n = 1
	b.come("a2")
	b.handed.Store(2) // the stream of this session has not passed a2
	b.sink.absent.Store(false)
	asked := b.sink.asked.Load()
	dbtest.Until(t, "it was tried for a while", func() bool { return b.sink.asked.Load() > asked+3 || b.sink.got() != "" })
	b.n = 0
	b.come("a1")
	b.handed.Store(3)
	dbtest.Until(t, "the topic flows", func() bool { return !b.Blocked("t") })
	if got := b.sink.got(); got != "a1 a2" {
		t.Errorf("published %s", got)
	}
}

// In a last step, an event that is not above what the table has goes there, too, and the step is over.
func TestOlderEventEndsTheLastStep(t *testing.T) {
	k := newKeys()
	k.block(Waiting{Topic: "t"})
	k.keepTopic("t", nil, at(5))
	k.hold(&schema.DeadLetter{Topic: "t", At: at(6), Blocked: true})
	if _, kept, back := k.hold(&schema.DeadLetter{Topic: "t", At: at(4), Blocked: true}); kept || len(back) != 1 || k.topics["t"].last != nil {
		t.Errorf("kept %t, %d go to the table", kept, len(back))
	}
	p := New(Config{})
	p.keys.block(Waiting{Topic: "t"})
	p.queue.push(&schema.DeadLetter{Topic: "t", At: at(5), Blocked: true})
	if p.keepTopic("t", at(5)) != nil || p.keepTopic("t", at(4)) == nil {
		t.Error("it keeps what is not above the table, or not what is")
	}
}

// givenBack is a lot with key a, of which a1 and a2 are given back and held by a lane.
func givenBack(t *testing.T) *blockedLot {
	t.Helper()
	b := &blockedLot{lot: park(t)}
	b.sink = &testSink{l: b.lot, refuse: map[string]bool{}, holds: true}
	b.Serve(b.sink)
	b.add(1, "a1", true)
	b.add(2, "a2", false)
	b.n = 2
	b.reached.Store(100)
	b.Exec("update walpost.dead_letters set state = 'retrying'")
	dbtest.Until(t, "both are in the lane", func() bool { return b.sink.inLane() == 2 })
	return b
}

// What a person has given back stays given back when a session ends.
func TestGivenBackWhenASessionEnds(t *testing.T) {
	t.Parallel()
	b := givenBack(t)
	b.Hold("")
	dbtest.Until(t, "the round is over", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.rounds == 0
	})
	if got := b.values(); got != "a1=retrying a2=retrying" {
		t.Errorf("the table has %s", got)
	}
}

// What a person has given back waits when its topic is blocked, and is published after that, with what came of its key meanwhile.
func TestGivenBackWhenItsTopicIsBlocked(t *testing.T) {
	t.Parallel()
	b := givenBack(t)
	b.sink.absent.Store(true)
	b.Block("t", reason.TopicMissing, "gone", "")
	b.sink.sift()
	b.come("a3", "b4")
	b.sink.absent.Store(false)
	dbtest.Until(t, "everything is published", func() bool { return b.Parked().Keys == 0 && !b.Blocked("t") })
	if got := b.sink.got(); got != "b4 a1 a2 a3" {
		t.Errorf("published %s", got)
	}
}

// A topic of which everything was discarded does not wait any more.
func TestDiscardedTopic(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1")
	b.Exec("update walpost.dead_letters set state = 'discarded'")
	dbtest.Until(t, "it does not wait", func() bool { return !b.Blocked("t") })
}

// A look that is older than the last rows of a topic does not block it again.
func TestOldLookAtATopic(t *testing.T) {
	k := newKeys()
	s := &survey{p: &Parker{keys: k}}
	s.find([]Waiting{{Topic: "t"}})
	if k.blocked("t") {
		t.Error("it is blocked by one look")
	}
	s.find(nil)
	s.find([]Waiting{{Topic: "t"}})
	if k.blocked("t") {
		t.Error("it is blocked by two looks that do not follow each other")
	}
	s.find([]Waiting{{Topic: "t"}})
	if !k.blocked("t") {
		t.Error("somebody has made rows wait for it, and it is not blocked")
	}
}

// A topic that refuses its records does not flow before it has taken one.
func TestRefusingTopicDoesNotFlowUntried(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.MessageTooLarge)
	b.sink.absent.Store(false)
	dbtest.Until(t, "it was looked at", b.tried)
	if b.Logs.Has("a topic takes records again") {
		t.Error("it flows")
	}
}

// A round that Kafka has acked after its session ended is recorded, while no other session has the slot. So it is not published again.
func TestRoundOfAnEndedSession(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1")
	b.reached.Store(100)
	b.sink.gate = make(chan struct{})
	b.sink.absent.Store(false)
	dbtest.Until(t, "it is on its way", func() bool { return b.sink.waits.Load() == 1 })
	b.keys.mu.Lock()
	b.Parker.mu.Lock()
	b.holder = "" // the session ends; what is on its way is in Kafka
	b.Parker.mu.Unlock()
	b.keys.mu.Unlock()
	close(b.sink.gate)
	dbtest.Until(t, "it is recorded", func() bool { return b.values() == "a1=released" })
}

// A row that cannot be read becomes the head of its key, and others of the key wait behind it.
func TestEditedRowOfATopic(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1", "a2", "b3")
	b.Exec("update walpost.dead_letters set header_names = array['x'::bytea], header_values = '{}' where convert_from(value, 'UTF8') = 'a1'")
	b.reached.Store(100)
	b.sink.absent.Store(false)
	dbtest.Until(t, "the topic flows", func() bool { return !b.Blocked("t") })
	if got := b.sink.got(); got != "b3" || b.waiting() != "a1! a2!" || b.Verdict("t", []byte("a"), at(9), 9) != schema.Park {
		t.Errorf("published %s; waiting: %s", got, b.waiting())
	}
}

// A topic that refuses a whole round is one that refuses its records: its events wait for it, and not for a person.
func TestRoundThatIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, first string
		heads       int // without a key, recorded before it is known
	}{{"after it has taken one", "a0", 0}, {"from its first event on", "", 0}, {"without keys", "-", 19}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := blocked(t, reason.TopicMissing)
			if c.first == "a0" {
				b.come("a0")
			}
			for i := range 30 {
				v := fmt.Sprintf("%c%d", 'b'+i%20, i+1)
				if c.first == "-" {
					v = fmt.Sprint("-", i+1)
				}
				b.come(v)
				b.sink.refuse[v] = true
			}
			b.reached.Store(100)
			b.sink.absent.Store(false)
			dbtest.Until(t, "it refuses its records", func() bool {
				p := b.Parked().Topics
				return len(p) == 1 && p[0].Code == reason.MessageTooLarge
			})
			dbtest.Until(t, "that is over", b.tried)
			b.keys.mu.Lock()
			b.keys.topics["t"].tried = time.Time{} // half a minute later
			b.keys.mu.Unlock()
			dbtest.Until(t, "all of it waits for the topic", func() bool {
				return b.Ask("select count(*) filter (where state = 'head') || ' ' || count(*) filter (where state = 'waiting' and reason = 'topic_blocked') from walpost.dead_letters") ==
					fmt.Sprint(c.heads, " ", 30-c.heads)
			})
			dbtest.Until(t, "that is over", b.tried)
			if n := b.Parked().Keys; n != 0 {
				t.Errorf("%d keys are parked", n)
			}
			if one := b.Parked().Topics[0]; one.Cure == "" {
				t.Errorf("it has no cure: %+v", one)
			}
			if c.first != "-" { // its first rows were heads, or still say that the topic was missing
				dbtest.Until(t, "the next session finds the reason", func() bool {
					code, _ := Cause(b.Ask("select detail from walpost.dead_letters where state = 'waiting' order by position limit 1"))
					return code == reason.MessageTooLarge
				})
			}
		})
	}
}

// The detail of a row is the code and the text of why its topic is blocked. Anything else is only a text.
func TestCause(t *testing.T) {
	for _, c := range []struct{ detail, code, text string }{
		{"topic_missing: no", "topic_missing", "no"},
		{"message_too_large: kafka server: too large", "message_too_large", "kafka server: too large"},
		{"kafka server: Message was too large", "topic_blocked", "kafka server: Message was too large"},
		{"", "topic_blocked", ""},
		{"no colon", "topic_blocked", "no colon"},
	} {
		if code, text := Cause(c.detail); string(code) != c.code || text != c.text {
			t.Errorf("%q: %q, %q", c.detail, code, text)
		}
	}
}

// A topic of which nothing was left does not flow if an event of it is parked while the table is looked at.
func TestEventComesWhileTheTopicEnds(t *testing.T) {
	k := newKeys()
	k.block(Waiting{Topic: "t"})
	no := func(string) bool { return false }
	k.find(nil, no)
	l := &schema.DeadLetter{Topic: "t", Key: []byte("a"), At: at(1), Blocked: true}
	k.verdict("t", l.Key, l.At, false)
	k.hold(l)
	k.written([]*schema.DeadLetter{l})
	if over := k.find(nil, no); len(over) > 0 {
		t.Errorf("it flows: %v", over)
	}
	if k.find(nil, no); k.blocked("t") {
		t.Error("it never flows")
	}
}

// When a round turns out to be refused as a whole, what has come of its keys meanwhile waits for the topic, too.
func TestKeyOfARefusedRound(t *testing.T) {
	k := newKeys()
	n := name{"t", "a"}
	k.block(Waiting{Topic: "t"})
	k.drain("t", true)
	k.refusedInDrain(n, at(1))
	if v := k.verdict("t", []byte("a"), at(5), false); v != schema.Park {
		t.Fatalf("verdict %d", v)
	}
	l := &schema.DeadLetter{Topic: "t", Key: []byte("a"), At: at(5)}
	k.hold(l)
	if k.unrefused(n); len(k.absorbed("t")) != 0 {
		t.Error("its rows are changed although one is on its way")
	}
	k.written([]*schema.DeadLetter{l})
	if got := k.absorbed("t"); len(got) != 1 || k.count() != 0 {
		t.Errorf("%v wait for the topic, and %d keys for a person", got, k.count())
	}
	if v := k.verdict("t", []byte("a"), at(9), false); v != schema.Wait {
		t.Errorf("then verdict %d", v)
	}
}

// A topic that takes nothing is tried at growing intervals.
func TestPauseOfATopic(t *testing.T) {
	to := &topic{Waiting: Waiting{Code: reason.TopicMissing}}
	var got []time.Duration
	for ; to.tries < 7; to.tries++ {
		got = append(got, to.pause()/time.Second)
	}
	if want := []time.Duration{0, 1, 2, 4, 8, 10, 10}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	to.tries = 1000
	if to.pause() != probeBlocked {
		t.Error(to.pause())
	}
	if to.Code = reason.MessageTooLarge; to.pause() != probeRefused {
		t.Error(to.pause())
	}
}

// Rows that appear below what was published are published, too, and then the topic flows.
func TestRowsBelowWhatWasPublished(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1", "b2", "c3")
	b.Exec("update walpost.dead_letters set state = 'discarded' where value = 'a1'")
	b.sink.before = func(value string) {
		if value == "c3" {
			b.Exec("update walpost.dead_letters set state = 'waiting' where value = 'a1'")
		}
	}
	b.sink.absent.Store(false)
	dbtest.Until(t, "the topic flows", func() bool { return !b.Blocked("t") })
	if got := b.sink.got(); got != "b2 c3 a1" {
		t.Errorf("published %s", got)
	}
}

// What needs a person is told with its cause and its cure, and only when it has lasted.
func TestAlarms(t *testing.T) {
	now := time.Now()
	p := Parked{What: "events cannot be parked", Waits: "table locked", WaitsCode: reason.PostgresError, WaitsSince: now.Add(-alarmAfter), Topics: []Waiting{
		{Topic: "a", Code: reason.TopicMissing, Detail: "no such topic", Cure: "create it", Since: now}, {Topic: "b", Code: reason.TopicBlocked}}}
	want := []Alarm{{reason.PostgresError, "events cannot be parked: table locked", p.WaitsSince}, {reason.TopicMissing, "topic a takes no records: no such topic; create it", now},
		{reason.TopicBlocked, "topic b takes no records: topic_blocked", time.Time{}}}
	if got := p.Alarms(now); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := p.Alarms(now.Add(-time.Second)); len(got) != 2 {
		t.Errorf("too early: %v", got)
	}
}
