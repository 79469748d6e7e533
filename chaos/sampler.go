package main

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/chaos/verdict"
)

// sampler records the slot's confirmed position and the relay's memory while a round runs: afterwards nobody can tell them any more.
type sampler struct {
	dsn, slot string
	relay     *keeper
	done      sync.WaitGroup
	cancel    context.CancelFunc

	mu      sync.Mutex
	samples []verdict.Sample
	memory  []memory
}

// memory is a relay's peak resident memory up to a time.
type memory struct {
	at    time.Time
	bytes int64
}

// sampleEvery is the time between two samples.
const sampleEvery = 25 * time.Millisecond

func newSampler(ctx context.Context, dsn, slot string, relay *keeper) *sampler {
	ctx, cancel := context.WithCancel(ctx)
	s := &sampler{dsn: dsn, slot: slot, relay: relay, cancel: cancel}
	s.done.Go(func() { s.run(ctx) })
	return s
}

func (s *sampler) run(ctx context.Context) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.WithoutCancel(ctx))
		}
	}()
	ticks := time.NewTicker(sampleEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		s.sampleMemory()
		var err error
		if conn == nil {
			if conn, err = pgx.Connect(ctx, s.dsn); err != nil {
				continue // the server is down because of a fault
			}
		}
		if err = s.sampleSlot(ctx, conn); err != nil {
			conn.Close(ctx)
			conn = nil
		}
	}
}

func (s *sampler) sampleMemory() {
	if bytes := s.relay.memory(); bytes > 0 {
		s.mu.Lock()
		s.memory = append(s.memory, memory{time.Now(), bytes})
		s.mu.Unlock()
	}
}

// sampleSlot records the slot's confirmed LSN, with the time after the answer: the slot was confirmed up to it before that time.
func (s *sampler) sampleSlot(ctx context.Context, conn *pgx.Conn) error {
	confirmed, err := confirmedLSN(ctx, conn, s.slot)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.samples = append(s.samples, verdict.Sample{At: time.Now(), Confirmed: confirmed})
	s.mu.Unlock()
	return nil
}

// stop ends the sampling and returns the samples.
func (s *sampler) stop() ([]verdict.Sample, []memory) {
	s.cancel()
	s.done.Wait()
	return s.samples, s.memory
}

// confirmedLSN returns a slot's confirmed LSN; 0: there is no slot, or it was never read.
func confirmedLSN(ctx context.Context, conn *pgx.Conn, slot string) (lsn uint64, err error) {
	const query = "SELECT coalesce((SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = $1), 0)"
	err = conn.QueryRow(ctx, query, slot).Scan(&lsn)
	return lsn, err
}
