package relay

import (
	"context"
	"sync"
	"testing"

	"walpost/relay/parking"
	"walpost/schema"
)

// siftingSink asks for the verdict of each event, as a sink of Kafka does.
type siftingSink struct {
	acks   Acks
	parker *parking.Parker
	open   []published

	mu            sync.Mutex
	sent, settled int
}

func (s *siftingSink) Publish(ev *schema.Event, tx uint64) (int, error) {
	s.open = append(s.open, published{position: ev.Position, tx: tx})
	return 1, nil
}

func (s *siftingSink) Flush(bool) {
	for _, p := range s.open {
		sends := !s.parker.Sifting() || s.parker.Verdict("t", nil, p.position, p.tx) == schema.Send
		s.mu.Lock()
		if sends {
			s.sent++
		} else {
			s.settled++
		}
		s.mu.Unlock()
		s.acks.Acked([]schema.Run{{Tx: p.tx, Rows: 1}}, 1)
	}
	s.open = nil
}

func (s *siftingSink) Close() error { return nil }

func (s *siftingSink) counts() (sent, settled int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent, s.settled
}

// A new session sends its events, also if the relay's role may not read walpost.dead_letters, as a relay that does not park need not.
func TestNewSessionSends(t *testing.T) {
	t.Parallel()
	for name, mayRead := range map[string]bool{"with the right": true, "without it": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			role := f.reader()
			f.Exec("grant select on walpost.outbox to " + role)
			if !mayRead {
				f.Exec("revoke all on walpost.dead_letters from " + role)
			}
			f.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", f.cfg.Slot)
			f.cfg.Park = false
			s := &siftingSink{}
			f.cfg.OpenSink = func(_ context.Context, acks Acks) (Sink, error) {
				s.acks, s.parker = acks, acks.(*parking.Parker)
				return s, nil
			}
			r := f.start()
			f.Insert(2)
			all := func(n int) func() bool {
				return func() bool { sent, settled := s.counts(); return sent+settled >= n }
			}
			r.await("two events", all(2))
			before := f.walsender()
			f.kill()
			r.await("the relay leads again", func() bool { return f.active() && f.walsender() != before })
			f.Insert(3)
			r.await("three more events", all(5))
			if _, settled := s.counts(); settled > 0 {
				t.Errorf("%d events are acked unsent", settled)
			}
			r.stop()
		})
	}
}
