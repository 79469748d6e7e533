package kafkaproxy

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// dialTimeout is how long a broker may take to accept a connection.
const dialTimeout = 5 * time.Second

// broker is the proxy of one broker.
type broker struct {
	cluster  *Cluster
	id       int32
	listener net.Listener
	target   atomic.Pointer[string] // the address of the broker itself

	mu       sync.Mutex
	refusing bool
	links    map[*link]bool
}

// Cut resets all connections, on both sides. New connections work.
func (c *Cluster) Cut(ids ...int32) error { return c.each(ids, (*broker).cut) }

// Refuse resets each new connection, until it is called with false. Existing
// connections go on.
func (c *Cluster) Refuse(on bool, ids ...int32) error {
	return c.each(ids, func(b *broker) {
		b.mu.Lock()
		b.refusing = on
		b.mu.Unlock()
	})
}

// Stall holds back the data of the existing connections: the requests of
// clients (up), or the answers of brokers (down), and also the end of a
// connection. Both directions together imitate a half-open connection. New
// connections work. [Cluster.Heal] delivers the data if the receiver is still
// there.
func (c *Cluster) Stall(up, down bool, ids ...int32) error {
	return c.each(ids, func(b *broker) {
		for _, l := range b.all() {
			if up {
				l.up.close()
			}
			if down {
				l.down.close()
			}
		}
	})
}

// Heal ends all stalls.
func (c *Cluster) Heal(ids ...int32) error {
	return c.each(ids, func(b *broker) {
		for _, l := range b.all() {
			l.up.open()
			l.down.open()
		}
	})
}

func (b *broker) cut() {
	for _, l := range b.all() {
		l.reset()
	}
}

func (b *broker) all() []*link {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []*link
	for l := range b.links {
		list = append(list, l)
	}
	return list
}

func (b *broker) accept() {
	for {
		conn, err := b.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the client has disconnected already
		}
		b.cluster.carriers.Go(func() { b.carry(conn.(*net.TCPConn)) })
	}
}

// carry relays one connection until it ends.
func (b *broker) carry(client *net.TCPConn) {
	server, err := b.dial()
	if err != nil {
		abort(client)
		return
	}
	l := newLink(b, client, server)
	b.mu.Lock()
	b.links[l] = true
	refused := b.refusing || b.cluster.ctx.Err() != nil
	b.mu.Unlock()
	if refused {
		l.reset()
	} else {
		l.carry()
	}
	b.mu.Lock()
	delete(b.links, l)
	b.mu.Unlock()
}

// dial connects to the broker itself.
func (b *broker) dial() (*net.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(b.cluster.ctx, "tcp", *b.target.Load())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// abort ends a connection with a RST, as a broken network does.
func abort(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// gate lets one direction of a connection pass while it is open, as it is at
// first.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // closed while the gate is open
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
		g.opened = make(chan struct{})
	default:
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
	default:
		close(g.opened)
	}
}

// pass waits until the gate is open. It returns false if ended is closed first.
func (g *gate) pass(ended <-chan struct{}) bool {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return true
	case <-ended:
		return false
	}
}
