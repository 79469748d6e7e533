package wire

import (
	"fmt"
	"net"
	"time"
)

// Avoid closes all connections to an address, and prevents new ones for a while.
func (s *Splicer) Avoid(addr string, d time.Duration) {
	s.mu.Lock()
	s.avoidUntil[addr] = time.Now().Add(d)
	var conns []*spliceConn
	for c := range s.conns {
		if c.addr == addr {
			conns = append(conns, c)
		}
	}
	s.mu.Unlock()
	cut(conns)
}

// cut closes connections without telling the peers, because a peer may not read.
func cut(conns []*spliceConn) {
	for _, c := range conns {
		_ = c.raw.Close()
	}
}

// avoided returns an error if an address must not be dialed now.
func (s *Splicer) avoided(addr string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.avoidUntil[addr]
	switch {
	case !ok:
		return nil
	case time.Now().Before(until):
		return fmt.Errorf("broker %s does not answer: %w", addr, net.ErrClosed)
	}
	delete(s.avoidUntil, addr)
	return nil
}
