package kfaketest

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"
)

// gate is the listener of a broker whose process or network fails. It counts the requests that come in.
type gate struct {
	counts *counts

	mu    sync.Mutex
	cond  *sync.Cond
	addr  net.Addr
	inner net.Listener // nil: connections are refused
	way   gateWay
	conns map[*gateConn]struct{}
	ended bool
}

// gateWay is what a gate does with connections.
type gateWay uint8

const (
	gateOpen   gateWay = iota
	gateAway           // refused, as by a machine on which no broker runs
	gateHungUp         // accepted and closed, as by a load balancer with no broker behind it
	gateFrozen         // accepted, and nothing is read or answered, as by a process that is stopped
)

// newGate listens at a free port.
func newGate(c *counts) (*gate, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gate{counts: c, addr: l.Addr(), inner: l, conns: map[*gateConn]struct{}{}}
	g.cond = sync.NewCond(&g.mu)
	return g, nil
}

// set changes what the gate does with connections. Open connections are closed, unless they are only frozen.
func (g *gate) set(way gateWay) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.way = way
	if way == gateAway && g.inner != nil {
		g.inner.Close()
		g.inner = nil
	}
	if way == gateAway || way == gateHungUp {
		for c := range g.conns {
			c.Conn.Close()
		}
	}
	for deadline := time.Now().Add(10 * time.Second); way != gateAway && g.inner == nil; {
		l, err := net.Listen("tcp", g.addr.String())
		if err == nil {
			g.inner = l
		} else if time.Now().After(deadline) {
			return err // somebody has taken the port
		}
	}
	g.cond.Broadcast()
	return nil
}

// Accept implements [net.Listener].
func (g *gate) Accept() (net.Conn, error) {
	for {
		g.mu.Lock()
		for g.inner == nil && !g.ended {
			g.cond.Wait()
		}
		inner, ended := g.inner, g.ended
		g.mu.Unlock()
		if ended {
			return nil, net.ErrClosed
		}
		conn, err := inner.Accept()
		if errors.Is(err, net.ErrClosed) {
			g.mu.Lock()
			if g.inner == inner {
				g.inner = nil
			}
			g.mu.Unlock()
			continue
		}
		if err != nil {
			return nil, err
		}
		g.counts.connection()
		c := &gateConn{Conn: conn, gate: g}
		g.mu.Lock()
		closed := g.way == gateAway || g.way == gateHungUp
		if !closed {
			g.conns[c] = struct{}{}
		}
		g.mu.Unlock()
		if closed {
			conn.Close()
			continue
		}
		return c, nil
	}
}

// Addr implements [net.Listener].
func (g *gate) Addr() net.Addr { return g.addr }

// Close implements [net.Listener].
func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended, g.way = true, gateOpen
	if g.inner != nil {
		g.inner.Close()
	}
	g.cond.Broadcast()
	return nil
}

// pass returns once the broker is not frozen.
func (g *gate) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.way == gateFrozen {
		g.cond.Wait()
	}
}

// gateConn is a connection to the broker.
type gateConn struct {
	net.Conn
	gate *gate

	// State of the request that is being read.
	head [6]byte // its length and its key
	has  int     // how much of head there is
	rest int     // bytes behind head that are to come
}

func (c *gateConn) Read(b []byte) (int, error) {
	c.gate.pass()
	n, err := c.Conn.Read(b)
	c.count(b[:n])
	c.gate.pass()
	return n, err
}

func (c *gateConn) Write(b []byte) (int, error) {
	c.gate.pass()
	return c.Conn.Write(b)
}

func (c *gateConn) Close() error {
	c.gate.mu.Lock()
	delete(c.gate.conns, c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}

// count counts the requests that begin in b.
func (c *gateConn) count(b []byte) {
	for len(b) > 0 {
		n := copy(c.head[c.has:], b)
		c.has += n
		b = b[n:]
		if n > 0 && c.has == len(c.head) {
			c.rest = int(binary.BigEndian.Uint32(c.head[:])) - 2
			c.gate.counts.request(int16(binary.BigEndian.Uint16(c.head[4:])))
		}
		n = min(c.rest, len(b))
		c.rest -= n
		b = b[n:]
		if c.has == len(c.head) && c.rest == 0 {
			c.has = 0
		}
	}
}

// counts are the numbers of connections and requests that the brokers have received.
type counts struct {
	mu sync.Mutex
	Traffic
}

// Traffic is the number of connections and requests that the brokers have received.
type Traffic struct {
	Connections int
	Requests    map[int16]int // by their key
}

func (c *counts) connection() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Connections++
}

func (c *counts) request(key int16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Requests == nil {
		c.Requests = map[int16]int{}
	}
	c.Requests[key]++
}

// since returns the traffic since before.
func (t Traffic) since(before Traffic) Traffic {
	t.Connections -= before.Connections
	for key, n := range before.Requests {
		t.Requests[key] -= n
	}
	return t
}
