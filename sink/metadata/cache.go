package metadata

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// Asker asks brokers. Only one goroutine at a time calls its methods. They return when the context ends.
type Asker interface {
	// Metadata asks for topics. known are the addresses of known brokers, to be asked before others. With create, brokers may create topics
	// that do not exist.
	Metadata(ctx context.Context, known []string, topics []string, create bool) (*sarama.MetadataResponse, error)
	// MaxMessageBytes asks for max.message.bytes of topics. It returns the values that may be read.
	MaxMessageBytes(ctx context.Context, known []string, topics []string) (map[string]int64, error)
}

// Cache holds the brokers' latest answers. Its methods may be called from any goroutine.
type Cache struct {
	ask     Asker
	changed func(topics []string)
	pause   time.Duration // between two refreshes
	wake    chan struct{}

	mu      sync.Mutex // innermost; no goroutine waits for a broker while it holds mu
	brokers map[int32]*sarama.Broker
	topics  map[string]*topic
	err     error            // why the last refresh got no answer; nil: it got one
	answer  time.Time        // when the last answer came; zero: none has
	wanted  map[string]Want  // of the next refresh
	next    chan struct{}    // closed at the end of the next refresh; nil: nobody has joined it
	limits  map[string]int64 // max.message.bytes by topic, where it may be read
}

// topic is a broker's answer about a topic.
type topic struct {
	err     error   // nil: the topic exists
	leaders []int32 // by partition; -1: none
	codes   []error // by partition: why it has no leader
}

// Want is what a refresh asks for besides a topic's partitions and leaders.
type Want uint8

// What can be asked for. Wants are combined with |.
const (
	Settings Want = 1 << iota // max.message.bytes
	Create                    // creates the topic if it does not exist
)

// Times for refreshes.
const (
	minPause = 100 * time.Millisecond // from one refresh to the next: callers that join meanwhile share the next one
	maxPause = time.Second            // the same while no broker answers
)

// New returns an empty cache. The goroutine of [Cache.Run] calls changed after each refresh that got an answer, with the topics that it was
// about.
func New(ask Asker, changed func(topics []string)) *Cache {
	return &Cache{ask: ask, changed: changed, pause: minPause, wake: make(chan struct{}, 1),
		brokers: map[int32]*sarama.Broker{}, topics: map[string]*topic{}, wanted: map[string]Want{}, limits: map[string]int64{}}
}

// Refresh joins the next refresh, which then is about the topic too. The channel is closed when that refresh is over, or when Run has
// ended. The refresh may have got no answer, see [Cache.Partitions].
func (c *Cache) Refresh(name string, want Want) <-chan struct{} {
	return c.RefreshAll([]string{name}, want)
}

// RefreshAll is [Cache.Refresh] for several topics.
func (c *Cache) RefreshAll(names []string, want Want) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		c.wanted[name] |= want
	}
	if c.next == nil {
		c.next = make(chan struct{})
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return c.next
}

// Partitions returns the number of a topic's partitions, from the last refresh that was about the topic and got an answer. The error is the
// topic's, or the reason why there was no such answer.
func (c *Cache) Partitions(name string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[name]
	if t == nil {
		return 0, c.unknown()
	}
	return len(t.leaders), t.err
}

// Answered returns when a broker has last answered a question for topics; zero: none has.
func (c *Cache) Answered() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answer
}

// Leader returns the broker that leads a partition, from the last refresh that was about its topic and got an answer. A broker stays the
// same value until its address changes. The error says why there is no leader.
func (c *Cache) Leader(name string, partition int32) (*sarama.Broker, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[name]
	switch {
	case t == nil:
		return nil, c.unknown()
	case t.err != nil:
		return nil, t.err
	case int(partition) >= len(t.leaders):
		return nil, sarama.ErrUnknownTopicOrPartition
	}
	if b := c.brokers[t.leaders[partition]]; b != nil {
		return b, nil
	}
	if err := t.codes[partition]; err != nil {
		return nil, err
	}
	return nil, sarama.ErrLeaderNotAvailable
}

// MaxMessageBytes returns a topic's max.message.bytes from the last refresh that asked for it, and whether it may be read.
func (c *Cache) MaxMessageBytes(name string) (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.limits[name]
	return n, ok
}

// unknown returns why nothing is known about a topic. c.mu is held.
func (c *Cache) unknown() error {
	if c.err != nil {
		return c.err
	}
	return ErrNotAsked
}

// ErrNotAsked says that nothing is known of a topic yet.
var ErrNotAsked = errors.New("no broker has been asked for the topic yet")

// Forget removes what is known about a topic. A refresh that is under way may bring the topic back: then changed is called with it.
func (c *Cache) Forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.topics, name)
	delete(c.limits, name)
}

// Gone reports whether a broker is missing from the latest answer, or has another address there.
func (c *Cache) Gone(b *sarama.Broker) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.brokers[b.ID()] != b
}

// Addresses returns the addresses of the known brokers.
func (c *Cache) Addresses() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var addrs []string
	for _, b := range c.brokers {
		addrs = append(addrs, b.Addr())
	}
	return addrs
}
