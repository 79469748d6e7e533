// Package proxy puts a TCP proxy between a client and a server, for tests of network faults. It cuts connections, stalls them in either
// direction, and leaves them half open.
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

// Proxy forwards connections to one server. Its methods may be called from any goroutine.
type Proxy struct {
	listener net.Listener
	target   string
	route    func(first []byte) string // if not nil, it chooses the target
	carriers sync.WaitGroup
	once     sync.Once
	closed   chan struct{}
	expired  atomic.Int64 // how many connections were idle for too long

	mu    sync.Mutex
	links map[*link]bool
}

// Start starts a proxy in front of a server's address, which ends with the test.
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := Launch(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// StartRouter starts a proxy that chooses the target of each connection: it calls route with the first bytes from the client. It is for
// protocols in which the client speaks first. route may be called from any goroutine.
func StartRouter(t testing.TB, route func(first []byte) string) *Proxy {
	t.Helper()
	p, err := launch("a routed server", route)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Launch is like [Start] without a test: Close ends the proxy.
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

// Close cuts all connections and accepts no more.
func (p *Proxy) Close() {
	p.once.Do(func() { close(p.closed) })
	p.listener.Close()
	p.Cut()
	p.carriers.Wait()
}

// Address returns the address at which the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Port returns the port of Address.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Cut resets all connections, on both sides. New connections work.
func (p *Proxy) Cut() {
	for _, l := range p.all() {
		l.reset()
	}
}

// Stall stops forwarding on the present connections: data from the client no longer reaches the server (up), or data from the server no
// longer reaches the client (down). The other direction, and new connections, still work. With both, the connection is half open: each side
// believes that it is alive, and does not learn if the other side closes it. Only [Proxy.Cut] ends a stall.
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

// LimitIdle makes the proxy reset each connection on which neither side has sent anything for limit, as load balancers do. Call it only
// once.
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

// Expired returns how many connections were reset because they were idle.
func (p *Proxy) Expired() int { return int(p.expired.Load()) }

// Connections returns the number of open connections, stalled ones included.
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
			continue // the client has disconnected
		}
		p.carriers.Go(func() { p.carry(client.(*net.TCPConn)) })
	}
}

// carry forwards one connection until it ends.
func (p *Proxy) carry(client *net.TCPConn) {
	conn, err := p.dial(client)
	if err != nil { // reset, as if the server did not run
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

// silence is how long a client that has to speak first may be silent.
const silence = 5 * time.Second

// dial connects to the client's server, which may depend on the first bytes from the client.
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

// String returns the proxy's address and its target.
func (p *Proxy) String() string { return fmt.Sprintf("proxy %s → %s", p.Address(), p.target) }

// link is one forwarded connection.
type link struct {
	client, server *net.TCPConn
	up, down       *gate
	active         atomic.Int64 // when it last forwarded data, ns since 1970
	once           sync.Once
	ended          chan struct{} // closed by reset
}

// copy forwards one direction until the source closes it or the link is reset.
func (l *link) copy(to, from *net.TCPConn, through *gate) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		l.active.Store(time.Now().UnixNano())
		select {
		case <-through.stalled: // this data is lost, and so is everything after it, including the close
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

// reset ends a link like a broken network: both sides get RST.
func (l *link) reset() {
	l.once.Do(func() {
		close(l.ended)
		for _, c := range []*net.TCPConn{l.client, l.server} {
			c.SetLinger(0)
			c.Close()
		}
	})
}

// gate lets data pass until it is stopped.
type gate struct {
	once    sync.Once
	stalled chan struct{}
}

func newGate() *gate { return &gate{stalled: make(chan struct{})} }

func (g *gate) stop() { g.once.Do(func() { close(g.stalled) }) }
