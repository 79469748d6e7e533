// Package proxy puts a TCP proxy between a client and a server, for tests of
// what networks do: it cuts connections, lets them stall in either direction,
// and leaves them half open.
package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy carries connections to one server. Its methods are for any
// goroutine.
type Proxy struct {
	listener net.Listener
	target   string
	route    func(first []byte) string // if not nil, target is where it says
	carriers sync.WaitGroup
	once     sync.Once
	closed   chan struct{}
	expired  atomic.Int64 // connections that were idle for too long

	mu    sync.Mutex
	links map[*link]bool
}

// Start starts a proxy before a server's address; it ends with the test.
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := Launch(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// StartRouter starts a proxy that carries each connection to the address that
// route gives for the first bytes that the client sends. It is for protocols
// in which the client speaks first, and its route for any goroutine.
func StartRouter(t testing.TB, route func(first []byte) string) *Proxy {
	t.Helper()
	p, err := launch("a routed server", route)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Launch is [Start] without a test: Close ends the proxy.
func Launch(target string) (*Proxy, error) { return launch(target, nil) }

func launch(target string, route func([]byte) string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a proxy: %w", err)
	}
	p := &Proxy{listener: listener, target: target, route: route, closed: make(chan struct{}), links: make(map[*link]bool)}
	p.carriers.Go(p.accept)
	return p, nil
}

// Close cuts all connections and carries no more.
func (p *Proxy) Close() {
	p.once.Do(func() { close(p.closed) })
	p.listener.Close()
	p.Cut()
	p.carriers.Wait()
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Port is the port of Address.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Cut resets all connections, on both sides. New ones are carried.
func (p *Proxy) Cut() {
	for _, l := range p.all() {
		l.reset()
	}
}

// Stall carries nothing more of the connections that are there: what the
// client sends does not reach the server (up), or what the server sends does
// not reach the client (down). The other direction, and new connections, are
// carried. Both at once is a half-open connection: each side believes in it,
// and does not learn of the other's end. Only [Proxy.Cut] ends a stall.
func (p *Proxy) Stall(up, down bool) {
	for _, l := range p.all() {
		if up {
			l.up.stop()
		}
		if down {
			l.down.stop()
		}
	}
}

// LimitIdle resets, from now on, each connection on which neither side has
// said anything for so long, as balancers do. It is called once.
func (p *Proxy) LimitIdle(limit time.Duration) {
	p.carriers.Go(func() {
		tick := time.NewTicker(limit / 10)
		defer tick.Stop()
		for {
			select {
			case <-p.closed:
				return
			case now := <-tick.C:
				for _, l := range p.all() {
					if now.Sub(time.Unix(0, l.active.Load())) > limit {
						p.expired.Add(1)
						l.reset()
					}
				}
			}
		}
	})
}

// Expired is how many connections were reset because they were idle.
func (p *Proxy) Expired() int { return int(p.expired.Load()) }

// Connections is how many connections are carried or stalled.
func (p *Proxy) Connections() int { return len(p.all()) }

func (p *Proxy) all() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	var links []*link
	for l := range p.links {
		links = append(links, l)
	}
	return links
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the client has gone again
		}
		p.carriers.Go(func() { p.carry(client.(*net.TCPConn)) })
	}
}

// carry carries one connection to its end.
func (p *Proxy) carry(client *net.TCPConn) {
	conn, err := p.dial(client)
	if err != nil { // a server that is not there resets
		client.SetLinger(0)
		client.Close()
		return
	}
	l := &link{client: client, server: conn.(*net.TCPConn), up: newGate(), down: newGate(), ended: make(chan struct{})}
	l.active.Store(time.Now().UnixNano())
	p.mu.Lock()
	p.links[l] = true
	p.mu.Unlock()
	var directions sync.WaitGroup
	directions.Go(func() { l.copy(l.server, l.client, l.up) })
	directions.Go(func() { l.copy(l.client, l.server, l.down) })
	directions.Wait()
	l.client.Close()
	l.server.Close()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// silence is how long a client that has to speak first may say nothing.
const silence = 5 * time.Second

// dial connects to the client's server, which may be chosen by what the
// client says first.
func (p *Proxy) dial(client net.Conn) (net.Conn, error) {
	if p.route == nil {
		return net.Dial("tcp", p.target)
	}
	first := make([]byte, 64<<10)
	client.SetReadDeadline(time.Now().Add(silence))
	n, err := client.Read(first)
	client.SetReadDeadline(time.Time{})
	if err != nil {
		return nil, err
	}
	server, err := net.Dial("tcp", p.route(first[:n]))
	if err != nil {
		return nil, err
	}
	if _, err := server.Write(first[:n]); err != nil {
		server.Close()
		return nil, err
	}
	return server, nil
}

// String tells where it carries to.
func (p *Proxy) String() string { return fmt.Sprintf("proxy %s → %s", p.Address(), p.target) }

// link is one carried connection.
type link struct {
	client, server *net.TCPConn
	up, down       *gate
	active         atomic.Int64 // when it last carried something, ns since 1970
	once           sync.Once
	ended          chan struct{} // closed by reset
}

// copy carries one direction until its source ends or the link is reset.
func (l *link) copy(to, from *net.TCPConn, through *gate) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		l.active.Store(time.Now().UnixNano())
		select {
		case <-through.stalled: // what was read is lost with what is to come, its end included
			<-l.ended
			return
		default:
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			to.CloseWrite()
			return
		case err != nil:
			l.reset()
			return
		}
	}
}

// reset ends a link as a broken network does: both sides get RST.
func (l *link) reset() {
	l.once.Do(func() {
		close(l.ended)
		for _, c := range []*net.TCPConn{l.client, l.server} {
			c.SetLinger(0)
			c.Close()
		}
	})
}

// gate is open until it is stopped.
type gate struct {
	once    sync.Once
	stalled chan struct{}
}

func newGate() *gate { return &gate{stalled: make(chan struct{})} }

func (g *gate) stop() { g.once.Do(func() { close(g.stalled) }) }
