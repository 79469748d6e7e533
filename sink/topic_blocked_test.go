package sink

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"

	"walpost/internal/breaker"
	"walpost/internal/reason"
	"walpost/schema"
	"walpost/sink/lane"
	"walpost/sink/recordbatch"
)

// blockingLedger parks topics.
type blockingLedger struct {
	*parkingLedger
	lock     sync.Mutex
	blocked  map[string]reason.Code
	absorbed []string
}

func newBlockingLedger() *blockingLedger {
	return &blockingLedger{parkingLedger: newParkingLedger(), blocked: map[string]reason.Code{}}
}

func (l *blockingLedger) Block(topic string, code reason.Code, _, _ string) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.blocked[topic] = code
}

func (l *blockingLedger) Absorb(_ string, keys [][]byte) {
	l.lock.Lock()
	defer l.lock.Unlock()
	for _, k := range keys {
		l.absorbed = append(l.absorbed, string(k))
	}
	slices.Sort(l.absorbed)
}

func (l *blockingLedger) Blocked(topic string) bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.blocked[topic] != ""
}

func (l *blockingLedger) Sifting() bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	return len(l.blocked) > 0 || l.parkingLedger.Sifting()
}

func (l *blockingLedger) Verdict(topic string, key []byte, at schema.Position, tx uint64) schema.Verdict {
	if v := l.parkingLedger.Verdict(topic, key, at, tx); v != schema.Send || !l.Blocked(topic) {
		return v
	}
	return schema.Wait
}

func (l *blockingLedger) codes() string {
	l.lock.Lock()
	defer l.lock.Unlock()
	return fmt.Sprint(l.blocked)
}

// judged is a producer with topics that parkBlocked judges, and a time for that.
type judged struct {
	*Producer
	ledger *blockingLedger
	now    time.Time
	silent bool // no broker answers
}

func newJudged(t *testing.T, names ...string) *judged {
	cfg := config(t, nil)
	cfg.Budget, cfg.MaxRequestSize = 4000, 100
	l := newBlockingLedger()
	p := &Producer{cfg: &cfg, parking: l, acks: l, known: map[string]*topic{}, blockedAfter: leaderlessAfter}
	for _, name := range names {
		to := &topic{name: name}
		to.partitions.Store(&[]*partition{})
		p.known[name] = to
	}
	return &judged{p, l, time.Now(), false}
}

// fails makes a topic wait with an error, and hold this many bytes.
func (j *judged) fails(name string, err error, bytes int) {
	to := j.known[name]
	u := &unplaced{}
	u.HandedOver(j.now)
	r := &recordbatch.Record{Key: []byte("k"), Value: make([]byte, 10)}
	u.Append(r, r.Size(), lane.Origin{Tx: 1})
	u.explicit = append(u.explicit, -1)
	u.Hold(bytes)
	to.partitions.Store(nil)
	to.err, to.waiting = err, []*unplaced{u}
}

// after judges the topics after a while.
func (j *judged) after(d time.Duration) string {
	j.now = j.now.Add(d)
	before := j.now.Add(-1)
	j.parkBlocked(j.now, before)
	if !j.silent {
		j.parkBlocked(j.now, j.now.Add(1))
	}
	j.parkBlocked(j.now, before)
	return j.ledger.codes()
}

// acks notes an ack of a topic now.
func (j *judged) acks(name string) { j.known[name].acked.Store(j.now.UnixNano() + 1) }

// A topic is parked when brokers have named its condition for 30 s, or it holds a quarter of the budget, and another topic had an ack since.
func TestWhenATopicIsParked(t *testing.T) {
	const none, missing = "map[]", "map[bad:topic_missing]"
	j := newJudged(t, "bad", "good")
	j.fails("bad", sarama.ErrUnknownTopicOrPartition, 10)
	if got := j.after(0); got != none {
		t.Errorf("at once: %s", got)
	}
	j.acks("good")
	if got := j.after(blockedAfter - 1); got != none {
		t.Errorf("before 30 s: %s", got)
	}
	if got := j.after(1); got != missing {
		t.Errorf("after 30 s: %s", got)
	}
	if n := len(j.ledger.letters); n != 1 || len(j.known["bad"].waiting) != 0 || !j.ledger.letters[0].Blocked {
		t.Errorf("%d events are parked", n)
	}

	j = newJudged(t, "bad", "good")
	j.fails("bad", sarama.ErrUnknownTopicOrPartition, 1000)
	j.acks("good") // before the condition was seen
	if got := j.after(time.Second); got != none {
		t.Errorf("a quarter of the budget, and no other ack: %s", got)
	}
	j.acks("good")
	if got := j.after(time.Second); got != missing {
		t.Errorf("a quarter of the budget: %s", got)
	}

	// An ack from before the condition changed does not count.
	j = newJudged(t, "bad", "good")
	j.fails("bad", sarama.ErrUnknownTopicOrPartition, 10)
	j.after(0)
	j.acks("good")
	j.after(blockedAfter / 2)
	j.known["bad"].err = nil // brokers went away, say
	j.after(time.Second)
	j.known["bad"].err = sarama.ErrUnknownTopicOrPartition
	if got := j.after(blockedAfter / 2); got != none {
		t.Errorf("named anew: %s", got)
	}
}

// Blocked topics that have used up the budget are parked without an ack of another topic: nothing of others can be read.
func TestBudgetUsedUpByBlockedTopics(t *testing.T) {
	j := newJudged(t, "one", "two")
	j.fails("one", sarama.ErrUnknownTopicOrPartition, 1499)
	j.fails("two", sarama.ErrTopicAuthorizationFailed, 1500)
	if got := j.after(0); got != "map[]" {
		t.Errorf("below three quarters: %s", got)
	}
	j.fails("one", sarama.ErrUnknownTopicOrPartition, 1500)
	if got := j.after(0); got != "map[one:topic_missing two:topic_not_authorized]" {
		t.Errorf("above: %s", got)
	}
}

// Nothing is parked while no broker names a condition, while the login fails, or while a right is missing for every topic.
func TestNothingIsParkedWhileKafkaAsAWholeFails(t *testing.T) {
	for name, errs := range map[string][2]error{
		"no broker answers":               {sarama.ErrOutOfBrokers, sarama.ErrOutOfBrokers},
		"the login is refused":            {sarama.ErrSASLAuthenticationFailed, sarama.ErrSASLAuthenticationFailed},
		"no right on the cluster":         {sarama.ErrClusterAuthorizationFailed, sarama.ErrClusterAuthorizationFailed},
		"no right on any topic":           {sarama.ErrTopicAuthorizationFailed, sarama.ErrTopicAuthorizationFailed},
		"a leader is missing for a while": {sarama.ErrLeaderNotAvailable, sarama.ErrNotEnoughReplicas},
	} {
		j := newJudged(t, "one", "two")
		j.fails("one", errs[0], 2000)
		j.fails("two", errs[1], 2000)
		j.after(0)
		j.acks("one")
		j.acks("two")
		if got := j.after(leaderlessAfter - time.Second); got != "map[]" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A topic is parked only after a broker has answered again: all brokers may have gone away just now. One topic for which the login fails is enough.
func TestNothingIsParkedWithoutAnotherAnswer(t *testing.T) {
	j := newJudged(t, "bad", "good", "other")
	j.fails("bad", sarama.ErrUnknownTopicOrPartition, 2000)
	j.after(0)
	j.acks("good")
	j.silent = true
	if got := j.after(time.Hour); got != "map[]" {
		t.Errorf("no broker answers: %s", got)
	}
	if ask := j.parkBlocked(j.now, j.now.Add(-time.Hour)); len(ask) != 1 || ask[0].name != "bad" {
		t.Errorf("brokers are to be asked for %v", ask)
	}
	j.silent = false
	j.fails("other", sarama.ErrSASLAuthenticationFailed, 10)
	if got := j.after(time.Second); got != "map[]" {
		t.Errorf("the login is refused: %s", got)
	}
	j.known["other"].err = nil
	if got := j.after(time.Second); got != "map[bad:topic_missing]" {
		t.Errorf("a broker answers: %s", got)
	}
}

// One partition of which brokers have named the condition is enough, whatever others wait for.
func TestConditionOfOnePartition(t *testing.T) {
	l := newBlockingLedger()
	b, p := openFlowing(t, 2, l)
	keys := map[int32]string{}
	for i := range 20 {
		key := fmt.Sprint("k", i)
		keys[p.cfg.Partitioner.Partition([]byte(key), 2)] = key
	}
	b.answer("MetadataRequest", sarama.NewMockMetadataResponse(t).SetBroker(b.Addr(), 1).SetController(1).SetError("orders", sarama.ErrUnknownTopicOrPartition))
	b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, sarama.ErrUnknownTopicOrPartition).SetError("orders", 1, sarama.ErrUnknownTopicOrPartition))
	<-p.meta.Refresh("orders", 0)
	first := int32(0) // the partition that the flow has not used has no sender
	if p.topics["orders"].all[0].lane.Held() == 0 {
		first = 1
	}
	for i, n := range []int32{first, 1 - first} {
		publish(t, p, event("orders", keys[n], i), uint64(i+1))
		p.Flush(false)
		until(t, "it waits", func() bool {
			since, err := p.topics["orders"].all[n].lane.Waiting()
			return !since.IsZero() && err != nil
		})
	}
	if err := p.topics["orders"].blockedBy(); !named(err) {
		t.Errorf("the topic waits because of: %v", err)
	}
}

// A partition of which a broker says that it has no leader counts as one without a leader, also if nothing was ever sent to it.
func TestLeaderIsMissing(t *testing.T) {
	l := newBlockingLedger()
	b, p := openFlowing(t, 1, l)
	b.answer("MetadataRequest", sarama.NewMockMetadataResponse(t).SetBroker(b.Addr(), 1).SetController(1).SetLeader("orders", 0, -1))
	b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, sarama.ErrNotLeaderForPartition))
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	until(t, "the leader is missing", func() bool { return leaderless(p.topics["orders"].blockedBy()) })
}

// Blocked topics have used up the budget, too, when the largest event does not fit any more.
func TestUsedUp(t *testing.T) {
	for _, c := range []struct{ budget, largest, want int }{{4000, 100, 3000}, {4000, 1000, 3000}, {4000, 1500, 2500}, {4000, 3500, 1000}, {4000, 9000, 1000}} {
		if got := usedUpBy(c.budget, c.largest); got != c.want {
			t.Errorf("budget %d, largest event %d: %d, want %d", c.budget, c.largest, got, c.want)
		}
	}
}

// A partition without a leader, or with too few replicas, counts after five minutes.
func TestTopicWithoutLeader(t *testing.T) {
	j := newJudged(t, "bad", "good")
	j.fails("bad", sarama.ErrLeaderNotAvailable, 3999)
	j.after(0)
	j.acks("good")
	if got := j.after(leaderlessAfter - 1); got != "map[]" {
		t.Errorf("before: %s", got)
	}
	if got := j.after(1); got == "map[]" {
		t.Error("it is not parked")
	}
}

// Events with which a topic flows again go to the front of their lanes, without walpost_replay, and count for the bytes that they hold. They are
// sent only if the topic flows.
func TestResumeTopic(t *testing.T) {
	t.Parallel()
	brokers, topic, l, p := openQuiet(t)
	letter := func(n uint64, partition int32) *schema.DeadLetter { return letterTo(topic, n, partition) }
	letters := []*schema.DeadLetter{letter(1, 0), letter(2, 1), letter(3, 0), letter(4, 2)}
	if p.ResumeTopic(topic, letters, func() bool { return true }) {
		t.Error("resumed before the partitions are known")
	}
	until(t, "the partitions", func() bool { return p.Ready(topic) == nil })
	if p.ResumeTopic(topic, letters, func() bool { return false }) || p.ResumeTopic(topic, []*schema.DeadLetter{letter(9, 7)}, func() bool { return true }) {
		t.Error("resumed although the topic does not flow, or a partition is not there")
	}
	if !p.Oldest(topic).IsZero() {
		t.Error("something waits")
	}
	if !p.ResumeTopic(topic, letters, func() bool { return true }) {
		t.Error("not resumed")
	}
	l.wait(t, 4, 0)
	if l.bytes != 40 {
		t.Errorf("they hold %d bytes, want 40", l.bytes)
	}
	for n, records := range consume(t, brokers, topic, 4) {
		got := ""
		for _, m := range records {
			got += string(m.Value)
			if len(m.Headers) != 1 {
				t.Errorf("headers %v", m.Headers)
			}
		}
		if want := []string{"13", "2", "4"}[n]; got != want {
			t.Errorf("partition %d has %s, want %s", n, got, want)
		}
	}
	if !p.ResumeTopic(topic, nil, func() bool { return true }) {
		t.Error("not resumed without events")
	}
}

// Events that a person gives back, and that are refused again, do not block their topic: they may all be bad.
func TestRetryDoesNotBlockATopic(t *testing.T) {
	for _, again := range []bool{false, true} {
		j := newJudged(t, "t")
		var err error
		if j.metrics, err = newMetrics(prometheus.NewRegistry()); err != nil {
			t.Fatal(err)
		}
		part := &partition{topic: j.known["t"]}
		for n := range uint64(breaker.Refusals) {
			b := j.pool.Get()
			r := &recordbatch.Record{Key: fmt.Append(nil, n), Value: []byte("v")}
			if again {
				n |= schema.ReplayTx
			}
			b.Append(r, r.Size(), lane.Origin{Tx: n})
			j.parkHead(part, b, sarama.ErrMessageSizeTooLarge)
		}
		if blocked := j.ledger.codes() != "map[]"; blocked == again || len(j.ledger.absorbed) > 0 == again {
			t.Errorf("given back %t: blocked %t, absorbed %v", again, blocked, j.ledger.absorbed)
		}
	}
}
