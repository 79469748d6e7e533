package metadata

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// Asker asks brokers. Its methods are called by one goroutine at a time, and return when the context ends.
type Asker interface {
	// Metadata asks for topics. known are the brokers that are known, to be asked before others. With create, brokers may create topics that
	// are absent.
	Metadata(ctx context.Context, known []string, topics []string, create bool) (*sarama.MetadataResponse, error)
	// MaxMessageBytes asks for max.message.bytes of topics, and returns what may be read of it.
	MaxMessageBytes(ctx context.Context, known []string, topics []string) (map[string]int64, error)
}

// Cache is what the brokers said last. Its methods may be called from any goroutine.
type Cache struct {
	ask     Asker
	changed func(topics []string)
	pause   time.Duration // between two looks
	wake    chan struct{}

	mu      sync.Mutex // innermost; nothing waits for a broker under it
	brokers map[int32]*sarama.Broker
	topics  map[string]*topic
	err     error            // why the last look got no answer, nil: it got one
	wanted  map[string]Want  // of the next look
	next    chan struct{}    // closed at the end of the next look; nil: nobody has joined it
	limits  map[string]int64 // max.message.bytes by topic, of those that may be read
}

// topic is what a broker said of a topic.
type topic struct {
	err     error   // nil: it is there
	leaders []int32 // by partition; -1: none
	codes   []error // by partition: why it has no leader
}

// Want is what is asked for beside a topic's partitions and leaders.
type Want uint8

// What can be asked for. Wants are joined by |.
const (
	Settings Want = 1 << iota // max.message.bytes
	Create                    // the topic, if it is absent
)

// Times of looks.
const (
	minPause = 100 * time.Millisecond // from one look to the next: whoever joins meanwhile shares that
	maxPause = time.Second            // the same while no broker answers
)

// New returns a cache that knows nothing yet. changed is called after each look that got an answer, with the topics that it was about, by
// the goroutine of [Cache.Run].
func New(ask Asker, changed func(topics []string)) *Cache {
	return &Cache{ask: ask, changed: changed, pause: minPause, wake: make(chan struct{}, 1),
		brokers: map[int32]*sarama.Broker{}, topics: map[string]*topic{}, wanted: map[string]Want{}, limits: map[string]int64{}}
}

// Look joins the next look, so that it is about the topic too. The channel is closed when that is over, or Run has ended: with an answer or
// without one, see [Cache.Partitions].
func (c *Cache) Look(name string, want Want) <-chan struct{} {
	return c.LookAll([]string{name}, want)
}

// LookAll is [Cache.Look] for several topics.
func (c *Cache) LookAll(names []string, want Want) <-chan struct{} {
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

// Partitions returns how many partitions a topic has, by the last look that was about it and got an answer. Its error is the topic's, or why
// there was no such answer.
func (c *Cache) Partitions(name string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[name]
	if t == nil {
		return 0, c.unknown()
	}
	return len(t.leaders), t.err
}

// Leader returns the broker that leads a partition, by the last look that was about its topic and got an answer. The broker is the same
// value until it has another address. Its error says why there is none.
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

// MaxMessageBytes returns a topic's max.message.bytes by the last look that asked for it, and whether it may be read.
func (c *Cache) MaxMessageBytes(name string) (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.limits[name]
	return n, ok
}

// unknown is why nothing is known of a topic. c.mu is held.
func (c *Cache) unknown() error {
	if c.err != nil {
		return c.err
	}
	return errNotAsked
}

var errNotAsked = errors.New("no broker has been asked for the topic yet")

// Forget lets go of what is known of a topic. A look that is under way may bring it back: then changed is called with it.
func (c *Cache) Forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.topics, name)
	delete(c.limits, name)
}

// Gone reports whether a broker is none of those that were told of last, or has another address by now.
func (c *Cache) Gone(b *sarama.Broker) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.brokers[b.ID()] != b
}

// Addresses returns where the brokers are that are known.
func (c *Cache) Addresses() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var addrs []string
	for _, b := range c.brokers {
		addrs = append(addrs, b.Addr())
	}
	return addrs
}
