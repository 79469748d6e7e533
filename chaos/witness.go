package main

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/chaos/verdict"
)

// witness notes what can only be seen while it happens: how far the slot is confirmed, and the relay's memory.
type witness struct {
	dsn, slot string
	relay     *keeper
	done      sync.WaitGroup
	cancel    context.CancelFunc

	mu      sync.Mutex
	samples []verdict.Sample
	memory  []memory
}

// memory is the most that a relay had resident until a time.
type memory struct {
	at    time.Time
	bytes int64
}

// glance is how often the witness looks.
const glance = 25 * time.Millisecond

func newWitness(ctx context.Context, dsn, slot string, relay *keeper) *witness {
	ctx, cancel := context.WithCancel(ctx)
	w := &witness{dsn: dsn, slot: slot, relay: relay, cancel: cancel}
	w.done.Go(func() { w.look(ctx) })
	return w
}

func (w *witness) look(ctx context.Context) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.WithoutCancel(ctx))
		}
	}()
	ticks := time.NewTicker(glance)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		w.weigh()
		var err error
		if conn == nil {
			if conn, err = pgx.Connect(ctx, w.dsn); err != nil {
				continue // a server that is down; its nemesis knows
			}
		}
		if err = w.ask(ctx, conn); err != nil {
			conn.Close(ctx)
			conn = nil
		}
	}
}

func (w *witness) weigh() {
	if bytes := w.relay.memory(); bytes > 0 {
		w.mu.Lock()
		w.memory = append(w.memory, memory{time.Now(), bytes})
		w.mu.Unlock()
	}
}

// ask notes the slot's confirmed LSN, with the time at which it is known: it was true before that.
func (w *witness) ask(ctx context.Context, conn *pgx.Conn) error {
	confirmed, err := confirmedLSN(ctx, conn, w.slot)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.samples = append(w.samples, verdict.Sample{At: time.Now(), Confirmed: confirmed})
	w.mu.Unlock()
	return nil
}

// stop ends the looking and returns what was seen.
func (w *witness) stop() ([]verdict.Sample, []memory) {
	w.cancel()
	w.done.Wait()
	return w.samples, w.memory
}

// confirmedLSN is how far a slot is confirmed; 0: there is none, or it was never read.
func confirmedLSN(ctx context.Context, conn *pgx.Conn, slot string) (lsn uint64, err error) {
	const query = "SELECT coalesce((SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = $1), 0)"
	err = conn.QueryRow(ctx, query, slot).Scan(&lsn)
	return lsn, err
}
