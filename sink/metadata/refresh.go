package metadata

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// Run runs the refreshes that callers join, until ctx ends. It is called once.
func (c *Cache) Run(ctx context.Context) {
	pause := c.pause
	for {
		select {
		case <-ctx.Done():
			c.end(c.take())
			return
		case <-c.wake:
		}
		r := c.take()
		if r == nil {
			continue // the refresh was joined while the previous one was being taken, and was part of that
		}
		began := time.Now()
		if answered := c.fetch(ctx, r); answered {
			pause = c.pause
		} else {
			pause = min(2*pause, max(maxPause, c.pause))
		}
		c.end(r)
		if len(r.seen) > 0 {
			c.changed(r.seen)
		}
		// A large cluster answers slowly. The pause is at least as long as the answer took, up to a second, so that asking takes at most
		// half of the time.
		if !sleep(ctx, max(pause, min(time.Since(began), maxPause))) {
			c.end(c.take())
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// refresh is one question to a broker, for all callers that have joined it.
type refresh struct {
	wanted map[string]Want
	over   chan struct{}
	seen   []string // topics that an answer was about
}

// take returns the refresh that callers have joined, or nil if nobody has. Later callers join the next one.
func (c *Cache) take() *refresh {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		return nil
	}
	r := &refresh{wanted: c.wanted, over: c.next}
	c.wanted, c.next = map[string]Want{}, nil
	return r
}

// end tells the callers that have joined that their refresh is over.
func (c *Cache) end(r *refresh) {
	if r != nil {
		close(r.over)
	}
}

// fetch asks for what is wanted and keeps the answers. It reports whether a broker has answered everything.
func (c *Cache) fetch(ctx context.Context, r *refresh) bool {
	answered := true
	for _, create := range []bool{false, true} {
		if names := r.names(func(w Want) bool { return w&Create != 0 == create }); len(names) > 0 {
			res, err := c.ask.Metadata(ctx, c.Addresses(), names, create)
			if c.keep(res, err); err != nil {
				answered = false
			} else {
				r.seen = append(r.seen, names...)
			}
		}
	}
	names := r.names(func(w Want) bool { return w&Settings != 0 })
	if len(names) == 0 || !answered {
		return answered
	}
	limits, err := c.ask.MaxMessageBytes(ctx, c.Addresses(), names)
	if err != nil {
		return false // this does not mean that the settings may not be read
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if n, ok := limits[name]; ok {
			c.limits[name] = n
		} else {
			delete(c.limits, name)
		}
	}
	return true
}

// names returns the topics whose wants satisfy such.
func (r *refresh) names(such func(Want) bool) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(r.wanted)) {
		if such(r.wanted[name]) {
			names = append(names, name)
		}
	}
	return names
}

// keep stores an answer, or the error if there is none.
func (c *Cache) keep(res *sarama.MetadataResponse, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	if err != nil {
		return
	}
	c.answer = time.Now()
	brokers := map[int32]*sarama.Broker{}
	for _, b := range res.Brokers {
		brokers[b.ID()] = b
		// The broker stays the same value, because senders recognise it by that.
		if before := c.brokers[b.ID()]; before != nil && before.Addr() == b.Addr() {
			brokers[b.ID()] = before
		}
	}
	if len(brokers) > 0 {
		c.brokers = brokers
	}
	for _, t := range res.Topics {
		c.topics[t.Name] = topicOf(t)
	}
}

// topicOf returns what a broker answered about a topic.
func topicOf(m *sarama.TopicMetadata) *topic {
	if m.Err != sarama.ErrNoError && m.Err != sarama.ErrLeaderNotAvailable { // LEADER_NOT_AVAILABLE comes while a topic is being created
		return &topic{err: m.Err}
	}
	t := &topic{leaders: make([]int32, len(m.Partitions)), codes: make([]error, len(m.Partitions))}
	for i := range t.leaders {
		t.leaders[i] = -1
	}
	for _, p := range m.Partitions {
		if p.ID < 0 || int(p.ID) >= len(t.leaders) {
			continue // partition numbers have no gaps
		}
		t.leaders[p.ID] = p.Leader
		if p.Err != sarama.ErrNoError && p.Err != sarama.ErrReplicaNotAvailable { // REPLICA_NOT_AVAILABLE is about a follower
			t.leaders[p.ID], t.codes[p.ID] = -1, p.Err
		}
	}
	if len(t.leaders) == 0 {
		t.err = sarama.ErrLeaderNotAvailable
	}
	return t
}
