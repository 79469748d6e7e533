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

// Splicer dials the connections that sarama uses, and knows the requests that have not passed yet. Its methods may be called from any
// goroutine.
type Splicer struct {
	// RequestTimeout is request.timeout.ms: how long a leader may wait for its followers. The answer to a produce request is waited for a
	// little longer. 0: DefaultRequestTimeout. It is set before the first connection is made.
	RequestTimeout time.Duration

	dialer net.Dialer
	access *auth.Access // nil: plain text, without login
	ctx    context.Context
	cancel context.CancelFunc

	mu         sync.Mutex // innermost: sarama holds a lock of its own when it dials, writes and closes; nothing waits for a peer under it
	last       int64
	requests   map[int64][]Part
	conns      map[*spliceConn]struct{}
	probed     map[string]time.Time // when addresses were asked what they speak, see CheckListener
	avoidUntil map[string]time.Time // until when addresses are not dialed, see Avoid
	failures   map[string]int       // attempts to connect, by address, see Failures
}

// NewSplicer returns a splicer that encrypts and logs in by a. It connects to nothing by itself.
func NewSplicer(a *auth.Access) *Splicer {
	s := &Splicer{dialer: net.Dialer{KeepAlive: 30 * time.Second}, access: a, requests: map[int64][]Part{}, conns: map[*spliceConn]struct{}{},
		probed: map[string]time.Time{}, avoidUntil: map[string]time.Time{}, failures: map[string]int{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Done is closed when the splicer is.
func (s *Splicer) Done() <-chan struct{} { return s.ctx.Done() }

// add registers a request and returns its number, which is never 0.
func (s *Splicer) add(parts []Part) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.requests[s.last] = parts
	return s.last
}

// drop forgets a request. It reports whether nobody has begun to write it.
func (s *Splicer) drop(number int64) bool { return s.claim(number) != nil }

// claim returns what is written in place of a placeholder, nil if that is not known. Nobody gets it a second time.
func (s *Splicer) claim(number int64) []Part {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := s.requests[number]
	delete(s.requests, number)
	return parts
}

// Dial connects to a broker, with TLS if it is configured: sarama's own would be above this connection, and hide the requests from it.
func (s *Splicer) Dial(network, addr string) (net.Conn, error) {
	return s.DialContext(context.Background(), network, addr)
}

// DialContext is [Splicer.Dial] that ends with a context.
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

// Failures returns how many attempts to connect to an address have failed: nobody listened, or the peer ended the connection before its first
// word, as a load balancer does whose broker is gone. A broker that only ends connections that were in use has no more of them than before.
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

// Close ends every connection and every attempt to make one, so that nobody waits for a broker any more.
func (s *Splicer) Close() {
	s.cancel()
	s.mu.Lock()
	conns := slices.Collect(maps.Keys(s.conns))
	clear(s.conns)
	s.mu.Unlock()
	cut(conns)
}
