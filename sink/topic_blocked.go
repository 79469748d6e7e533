package sink

import (
	"errors"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/reason"
	"walpost/schema"
	"walpost/sink/kafkaerror"
	"walpost/sink/lane"
	"walpost/sink/recordbatch"
)

// A topic is blocked if brokers have named a condition of it that an operator has to cure, and its events have waited for that long, or hold that
// part of the budget. It is parked if, besides, another topic had an ack, or topics without acks have used up the budget: then nothing of other
// topics can be read. Before that, a broker has to answer once more: all brokers may have gone away since.
const (
	judgeEvery   = 200 * time.Millisecond
	blockedAfter = 30 * time.Second
	// leaderlessAfter is the same for a partition without a leader, or with too few replicas: that ends by itself as a rule.
	leaderlessAfter = 5 * time.Minute
	blockedShare    = 4 // a quarter of the budget
	// blockedProbe is how long an event of a parked topic waits for a leader, or for replicas, before it goes back into the table.
	blockedProbe = 10 * time.Second
)

// named reports whether a broker has said with err that the topic takes no records until an operator changes something.
func named(err error) bool {
	var code sarama.KError
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case sarama.ErrUnknownTopicOrPartition, sarama.ErrTopicAuthorizationFailed, sarama.ErrInvalidTopic, sarama.ErrPolicyViolation, sarama.ErrUnsupportedForMessageFormat:
		return true
	}
	return false
}

// leaderless reports whether a broker has said with err that a partition has no leader, or too few replicas.
func leaderless(err error) bool {
	var code sarama.KError
	return errors.As(err, &code) && (code == sarama.ErrLeaderNotAvailable || code == sarama.ErrNotEnoughReplicas || code == sarama.ErrNotEnoughReplicasAfterAppend)
}

// trouble is what one look has found about a topic whose events wait.
type trouble struct {
	topic *topic
	err   error
	long  bool // it is blocked
	held  int  // bytes of its events
}

// judgeTopics parks topics that are blocked, until the producer is closed.
func (p *Producer) judgeTopics() {
	for p.sleep(p.judgeEvery) {
		for _, t := range p.parkBlocked(time.Now(), p.meta.Answered()) {
			p.refresh(t)
		}
	}
}

// parkBlocked parks the topics that are blocked while others are fine. answered is when a broker has last answered. parkBlocked returns topics that
// it parks only after another answer.
func (p *Producer) parkBlocked(now, answered time.Time) (ask []*topic) {
	var troubles []trouble
	topics := p.knownTopics()
	refused := 0   // topics for which a right is missing
	login := false // the login is refused
	held := 0      // bytes of the events of all topics that get no acks
	for _, t := range topics {
		healthy := t.partitions.Load() != nil && t.failing.Load() == 0
		switch {
		case healthy && t.condition.code == "":
			continue
		case p.parking.Blocked(t.name):
			if err := t.blockedBy(); named(err) && t.condition.code != waitReason(err) {
				p.block(t, err)
				t.condition.code = waitReason(err)
			}
			if t.condition.code == reason.TopicNotAuthorized {
				refused++
			}
			continue
		case healthy:
			t.condition = condition{}
			continue
		}
		one, found := p.troubleOf(t, now)
		login = login || one.err != nil && waitReason(one.err) == reason.KafkaLogin
		if held += one.held; found {
			troubles = append(troubles, one)
			if errors.Is(one.err, sarama.ErrTopicAuthorizationFailed) {
				refused++
			}
		}
	}
	if len(troubles) == 0 || refused == len(topics) || login {
		return nil
	}
	usedUp := held >= usedUpBy(p.cfg.Budget, p.cfg.MaxRequestSize)
	for _, one := range troubles {
		if !one.long || !usedUp && !p.othersFlow(topics, one.topic) {
			continue
		}
		c := &one.topic.condition
		if c.due.IsZero() {
			c.due = now
		}
		if answered.After(c.due) {
			one.topic.park(p, one.err)
		} else {
			ask = append(ask, one.topic)
		}
	}
	return ask
}

// usedUpBy returns how many bytes use up a budget: three quarters of it, or so many that the largest event does not fit any more.
func usedUpBy(budget, largest int) int {
	return max(budget/blockedShare, budget-max(budget/4, largest))
}

// condition is why a topic takes no records, as far as brokers have said it.
type condition struct {
	code  reason.Code // "": they have not
	since time.Time
	due   time.Time // when the topic was to be parked, but for an answer since
}

// troubleOf looks at a topic that may be blocked. found reports whether its events wait because of a condition that brokers have named.
func (p *Producer) troubleOf(t *topic, now time.Time) (one trouble, found bool) {
	one = trouble{topic: t, err: t.blockedBy(), held: t.heldBytes()}
	after := blockedAfter
	switch {
	case named(one.err):
	case leaderless(one.err):
		after = leaderlessAfter
	default:
		t.condition = condition{}
		return one, false
	}
	if code := waitReason(one.err); t.condition.code != code {
		t.condition = condition{code: code, since: now}
	}
	one.long = now.Sub(t.condition.since) >= min(after, p.blockedAfter) || after == blockedAfter && one.held >= p.cfg.Budget/blockedShare
	return one, true
}

// blockedBy returns why the topic's events wait: a condition that brokers have named, if they have named one of any partition, or else the missing
// leader of one. Of several errors of a kind it is the one of the oldest event.
func (t *topic) blockedBy() (worst error) {
	rank := func(err error) int {
		switch {
		case named(err):
			return 3
		case leaderless(err):
			return 2
		case err != nil:
			return 1
		}
		return 0
	}
	var oldest time.Time
	t.eachWait(func(since time.Time, err error) {
		if a, b := rank(err), rank(worst); a > b || a == b && since.Before(oldest) {
			worst, oldest = err, since
		}
	})
	return worst
}

// othersFlow reports whether another topic had an ack since the topic has its condition.
func (p *Producer) othersFlow(topics []*topic, blocked *topic) bool {
	for _, t := range topics {
		if t != blocked && t.acked.Load() > blocked.condition.since.UnixNano() {
			return true
		}
	}
	return false
}

// heldBytes returns how many bytes the topic's events hold, except those of the pass that is open.
func (t *topic) heldBytes() (n int) {
	t.mu.Lock()
	partitions := t.all
	for _, u := range t.waiting {
		n += u.Held()
	}
	for _, u := range t.missing.events {
		n += u.Held()
	}
	t.mu.Unlock()
	for _, part := range partitions {
		n += part.lane.Held()
	}
	return n
}

// isParked reports whether the topic's events wait in the table.
func (t *topic) isParked(p *Producer) bool {
	return p.parking != nil && p.parking.Sifting() && p.parking.Blocked(t.name)
}

// park makes the topic's events wait in the table from now on.
func (t *topic) park(p *Producer, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.block(t, err)
	t.sift(p) // what lanes have goes through the sieve after their next attempt
}

// block tells the parker that a topic takes no records, and why.
func (p *Producer) block(t *topic, err error) {
	p.parking.Block(t.name, waitReason(err), err.Error(), p.cfg.cure(err, t.name))
}

// sift passes the events that wait for the topic's partitions, or for one of them, through the sieve. t.mu is held.
func (t *topic) sift(p *Producer) {
	t.waiting = append(t.missing.take(), t.waiting...)
	var rest []*unplaced
	for _, u := range t.waiting {
		a := p.aside(t.name)
		left := &unplaced{}
		left.HandedOver(u.Since())
		u.EachHeld(func(i int, r recordbatch.Raw, from lane.Origin, bytes int) {
			if v := p.verdict(t.name, r.Key(), from); v != schema.Send {
				a.add(v, r, from, bytes, u.explicit[i])
				return
			}
			left.AppendRaw(r, from, bytes)
			left.explicit = append(left.explicit, u.explicit[i])
		})
		if u.Reset(); left.Count() > 0 {
			rest = append(rest, left)
		}
		a.report()
	}
	if t.waiting = rest; len(rest) > 0 && t.partitions.Load() != nil {
		t.reconsider(p) // they can be placed only while no pass is open
	}
}

// takesBack reports whether everything that a lane of the topic has goes through the sieve again, after an attempt has failed with err.
func (t *topic) takesBack(p *Producer, err error, since time.Time) bool {
	if p.parking == nil || !p.parking.Sifting() {
		return false
	}
	wait := leaderlessAfter
	if p.parking.Blocked(t.name) {
		if wait = blockedProbe; named(err) {
			p.block(t, err)
		}
	}
	return p.parking.Stalled(t.name, named(err) || leaderless(err) && time.Since(since) >= wait)
}

// takeBack passes everything that a lane has through the sieve again. It reports whether something is left to send. Only the lane's driver calls
// it.
func (p *Producer) takeBack(part *partition) (left bool) {
	if part.failed {
		part.failed = false
		part.topic.failing.Add(-1)
	}
	part.searches, part.apart = 0, nil
	p.refresh(part.topic) // the lane may have nothing left that would ask
	return part.lane.TakeBack() == lane.SendNext
}

// Oldest returns when the oldest event of a topic that the producer has was handed over; zero: it has none. Any goroutine may call it.
func (p *Producer) Oldest(topic string) time.Time { return p.topicNamed(topic).wait().Since }

// Abandon passes events that wait for their topics' partitions through the sieve again. Any goroutine may call it.
func (p *Producer) Abandon() {
	for _, t := range p.knownTopics() {
		t.mu.Lock()
		t.sift(p)
		t.mu.Unlock()
	}
}

// ResumeTopic sends events of one topic, in order, before all events of the topic that are not sent yet. Each one is acked under its Tx, and
// counts until then for the bytes that the sink holds. ResumeTopic calls flow at a moment at which no event of the partitions of these events
// gets a verdict. If it cannot do so now, or if flow returns false, it does nothing and returns false. Any goroutine may call it.
func (p *Producer) ResumeTopic(topic string, letters []*schema.DeadLetter, flow func() bool) bool {
	t := p.topicNamed(topic)
	t.mu.Lock()
	defer t.mu.Unlock()
	partitions := t.partitions.Load()
	if t.ended || partitions == nil || len(t.waiting)+len(t.missing.events) > 0 {
		return false
	}
	of := map[int32][]*schema.DeadLetter{}
	var order []int32
	for _, l := range letters {
		n := p.partitionOf(l, len(*partitions))
		if int(n) >= len(*partitions) {
			return false
		}
		if of[n] == nil {
			order = append(order, n)
		}
		of[n] = append(of[n], l)
	}
	t.used.Store(time.Now().Unix())
	// All these lanes are held at once. Nothing else takes the locks of two lanes.
	var idle []*partition
	var put func(order []int32) bool
	put = func(order []int32) bool {
		if len(order) == 0 {
			return flow()
		}
		part := (*partitions)[order[0]]
		done, route := part.lane.PutFirst(len(*partitions), func() ([]*lane.Batch, bool) {
			batches := t.batch(p, of[order[0]], true)
			return batches, put(order[1:])
		})
		if route {
			idle = append(idle, part)
		}
		return done
	}
	done := put(order)
	for _, part := range idle {
		p.route(part)
	}
	return done
}

// judgeRefusal parks a topic that refuses everything. err is why it has refused an event with this key.
func (p *Producer) judgeRefusal(t *topic, key []byte, err error) {
	if p.cfg.Budget == 0 {
		return
	}
	code := kafkaerror.Reason(err)
	keys, trips := t.breaker.Refused(code, key)
	if !trips {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p.parking.Block(t.name, code, err.Error(), kafkaerror.Cure(err))
	p.parking.Absorb(t.name, keys)
	t.sift(p)
}
