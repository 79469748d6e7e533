package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"walpost/sink/auth"
)

// Splicer dials the connections that sarama uses, and keeps the requests that are not written yet. Its methods may be called from any
// goroutine.
type Splicer struct {
	// RequestTimeout is request.timeout.ms: how long a leader may wait for its followers. walpost waits a little longer for the answer to a
	// produce request. 0: DefaultRequestTimeout. It must be set before the first connection is made.
	RequestTimeout time.Duration

	dialer net.Dialer
	access *auth.Access // nil: plain text without login
	ctx    context.Context
	cancel context.CancelFunc

	mu         sync.Mutex // innermost: sarama holds a lock of its own when it dials, writes and closes; no goroutine waits for a peer while it holds mu
	last       int64
	requests   map[int64][]Part
	conns      map[*spliceConn]struct{}
	probed     map[string]time.Time // when addresses were last probed, see CheckListener
	avoidUntil map[string]time.Time // until when addresses must not be dialed, see Avoid
	failures   map[string]int       // failed attempts to connect, by address, see Failures
}

// NewSplicer returns a splicer that uses a to encrypt and log in. It makes no connection by itself.
func NewSplicer(a *auth.Access) *Splicer {
	s := &Splicer{dialer: net.Dialer{KeepAlive: 30 * time.Second}, access: a, requests: map[int64][]Part{}, conns: map[*spliceConn]struct{}{},
		probed: map[string]time.Time{}, avoidUntil: map[string]time.Time{}, failures: map[string]int{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Done returns a channel that is closed when the splicer is.
func (s *Splicer) Done() <-chan struct{} { return s.ctx.Done() }

// add registers a request and returns its number, which is never 0.
func (s *Splicer) add(parts []Part) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.requests[s.last] = parts
	return s.last
}

// drop removes a request. It reports whether nobody has begun to write it.
func (s *Splicer) drop(number int64) bool { return s.claim(number) != nil }

// claim removes and returns the parts to write in place of a placeholder. It returns nil if they are not known or were claimed before.
func (s *Splicer) claim(number int64) []Part {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := s.requests[number]
	delete(s.requests, number)
	return parts
}

// Dial connects to a broker, with TLS if that is configured. sarama's own TLS would wrap this connection, and hide the requests from it.
func (s *Splicer) Dial(network, addr string) (net.Conn, error) {
	return s.DialContext(context.Background(), network, addr)
}

// DialContext is like [Splicer.Dial], but ends when ctx does.
func (s *Splicer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if err := s.avoided(addr); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	conn, err := s.dialer.DialContext(ctx, network, addr)
	if err != nil {
		s.failed(addr)
		return nil, err
	}
	c := newSpliceConn(conn, s, addr)
	if cfg := s.access.TLS(); cfg != nil {
		if cfg.ServerName == "" {
			cfg = cfg.Clone()
			cfg.ServerName, _, _ = net.SplitHostPort(addr)
		}
		t := tls.Client(conn, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			conn.Close()
			s.failed(addr)
			return nil, err
		}
		c.Conn = t
		c.joined = bufio.NewWriterSize(t, 64<<10)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		conn.Close()
		return nil, net.ErrClosed
	}
	s.conns[c] = struct{}{}
	return c, nil
}

// Failures returns how many attempts to connect to an address have failed. An attempt failed if nobody listened, or if the peer closed the
// connection before it sent anything, as a load balancer does when its broker is gone. The number does not grow when a broker closes
// connections that were in use.
func (s *Splicer) Failures(addr string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures[addr]
}

func (s *Splicer) failed(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[addr]++
}

// Close closes every connection and ends every attempt to make one, so that nobody waits for a broker any more.
func (s *Splicer) Close() {
	s.cancel()
	s.mu.Lock()
	conns := slices.Collect(maps.Keys(s.conns))
	clear(s.conns)
	s.mu.Unlock()
	cut(conns)
}
