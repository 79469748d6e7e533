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

// Cluster is the proxies of a cluster's brokers. Its methods may be called from
// any goroutine. Methods with ids apply to these brokers, and to all brokers if
// no id is given. An id that the cluster does not have is an error.
type Cluster struct {
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	carriers sync.WaitGroup

	mu      sync.Mutex
	brokers map[int32]*broker // only grows
	faults  []*Fault          // that can still affect a request, oldest first
	held    []*heldRequest    // oldest first
	err     error             // the first error that no fault explains
	errs    int               // how many there were
}

// Launch asks the brokers for the members of their cluster and starts a
// listener for each. A broker that joins later gets its listener when it first
// appears in the metadata.
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

// ask returns the members of a cluster.
func ask(ctx context.Context, brokers []string) ([]kmsg.MetadataResponseBroker, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{} // none; nil would mean all
	answer, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	if len(answer.Brokers) == 0 {
		return nil, errors.New("the answer has no brokers")
	}
	return answer.Brokers, nil
}

// at returns the proxy of a broker, and makes it if the id is new. It stores
// the broker's address: a broker that comes back at another address keeps its
// listener.
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

// Addresses returns the addresses of the proxies, in the order of the brokers'
// ids, for a client's bootstrap.servers.
func (c *Cluster) Addresses() []string {
	all, _ := c.some(nil)
	var list []string
	for _, b := range all {
		list = append(list, b.listener.Addr().String())
	}
	return list
}

// Connections returns the number of clients' connections, stalled ones
// included.
func (c *Cluster) Connections(ids ...int32) (int, error) {
	n := 0
	err := c.each(ids, func(b *broker) { n += len(b.all()) })
	return n, err
}

// Err returns errors that no fault explains, such as frames that could not be
// parsed, or answers without a request. A run should end with nil.
func (c *Cluster) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.errs > 1 {
		return fmt.Errorf("the first of %d: %w", c.errs, c.err)
	}
	return c.err
}

// note stores an error for Err.
func (c *Cluster) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs++
	if c.err == nil {
		c.err = err
	}
}

// Close ends all connections and drops held requests. It returns the same as
// Err, and is idempotent.
func (c *Cluster) Close() error {
	c.cancel()
	all, _ := c.some(nil) // at adds no more brokers
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

// some returns the proxies of the ids, or all proxies, sorted by id.
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
			return nil, fmt.Errorf("broker %d does not exist: pass an id from the cluster's metadata", id)
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
