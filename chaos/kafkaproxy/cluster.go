package kafkaproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Cluster is the proxies before a cluster's brokers. Its methods are for any
// goroutine. Those that take ids mean these brokers, and all of them when no
// id is given; an id that the cluster does not have is an error.
type Cluster struct {
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	carriers sync.WaitGroup

	mu      sync.Mutex
	brokers map[int32]*broker // grows, and never loses one
	faults  []*Fault          // which a request may still meet, oldest first
	held    []*heldRequest    // oldest first
	err     error             // the first that no fault explains
	errs    int
}

// Launch asks the brokers for their cluster and starts a listener for each of
// its members that is there. One that joins later gets its listener when the
// metadata first tells of it.
func Launch(ctx context.Context, brokers []string) (*Cluster, error) {
	members, err := ask(ctx, brokers)
	if err != nil {
		return nil, fmt.Errorf("ask Kafka at %v for its brokers: %w", brokers, err)
	}
	c := &Cluster{brokers: make(map[int32]*broker)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, m := range members {
		if _, err := c.at(m.NodeID, m.Host, m.Port); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// ask gets the members of a cluster.
func ask(ctx context.Context, brokers []string) ([]kmsg.MetadataResponseBroker, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{} // none; nil would be all
	answer, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	if len(answer.Brokers) == 0 {
		return nil, errors.New("it knows of none")
	}
	return answer.Brokers, nil
}

// at gives the proxy of a broker, made now if its id is new, and notes where
// the broker is: one that comes back elsewhere keeps its listener.
func (c *Cluster) at(id int32, host string, port int32) (*broker, error) {
	target := net.JoinHostPort(host, strconv.Itoa(int(port)))
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.brokers[id]; b != nil {
		b.target.Store(&target)
		return b, nil
	}
	if c.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for broker %d: %w", id, err)
	}
	b := &broker{cluster: c, id: id, listener: listener, links: make(map[*link]bool)}
	b.target.Store(&target)
	c.brokers[id] = b
	c.carriers.Go(b.accept)
	return b, nil
}

// Addresses are where the proxies listen, in the order of the brokers' ids:
// what a client is to bootstrap from.
func (c *Cluster) Addresses() []string {
	all, _ := c.some(nil)
	var list []string
	for _, b := range all {
		list = append(list, b.listener.Addr().String())
	}
	return list
}

// Connections is how many connections of clients are carried or stalled.
func (c *Cluster) Connections(ids ...int32) (int, error) {
	n := 0
	err := c.each(ids, func(b *broker) { n += len(b.all()) })
	return n, err
}

// Err is what went wrong by itself: frames that could not be parsed, answers
// that nobody had asked for. nil is what a run should end with.
func (c *Cluster) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.errs > 1 {
		return fmt.Errorf("the first of %d: %w", c.errs, c.err)
	}
	return c.err
}

// note remembers an error for Err.
func (c *Cluster) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs++
	if c.err == nil {
		c.err = err
	}
}

// Close ends all connections and forgets what is held. It returns what Err
// does, and is idempotent.
func (c *Cluster) Close() error {
	c.cancel()
	all, _ := c.some(nil) // at adds none any more
	for _, b := range all {
		b.listener.Close()
		b.cut()
	}
	c.carriers.Wait()
	c.mu.Lock()
	c.held = nil
	c.mu.Unlock()
	return c.Err()
}

// some are the proxies of the ids, or all of them, by id.
func (c *Cluster) some(ids []int32) ([]*broker, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*broker
	for id, b := range c.brokers {
		if len(ids) == 0 || slices.Contains(ids, id) {
			list = append(list, b)
		}
	}
	for _, id := range ids {
		if c.brokers[id] == nil {
			return nil, fmt.Errorf("no broker has the id %d: pass one that the cluster's metadata shows", id)
		}
	}
	slices.SortFunc(list, func(a, b *broker) int { return int(a.id - b.id) })
	return list, nil
}

func (c *Cluster) each(ids []int32, do func(*broker)) error {
	list, err := c.some(ids)
	for _, b := range list {
		do(b)
	}
	return err
}
