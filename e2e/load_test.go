package e2e

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

// load commits small transactions from several writers until it is stopped.
type load struct {
	stopping  chan struct{}
	writers   sync.WaitGroup
	committed atomic.Int64 // transactions
	failed    atomic.Pointer[error]
}

// startLoad starts writers that commit about rate transactions a second
// together. Each has one to three rows, with few keys.
func startLoad(t testing.TB, p *pipe, writers int, rate time.Duration) *load {
	t.Helper()
	l := &load{stopping: make(chan struct{})}
	ticks := time.NewTicker(time.Second / rate)
	for n := range writers {
		conn := p.connect(t)
		l.writers.Go(func() {
			for {
				select {
				case <-l.stopping:
					return
				case <-ticks.C:
				}
				if err := transaction(t, conn, n); err != nil {
					l.failed.Store(&err)
					return
				}
				l.committed.Add(1)
			}
		})
	}
	t.Cleanup(ticks.Stop)
	return l
}

func transaction(t testing.TB, conn *pgx.Conn, writer int) error {
	rows := 1 + rand.IntN(3)
	// The writers share the keys, so the commit order differs from the order of
	// the inserts.
	_, err := conn.Exec(t.Context(), `INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload)
		SELECT 'order', 'key-'||(random() * 30)::int, 'loaded', jsonb_build_object('writer', $1::int) FROM generate_series(1, $2)`, writer, rows)
	return err
}

// stop ends the load and returns how many transactions were committed.
func (l *load) stop(t testing.TB) int64 {
	t.Helper()
	close(l.stopping)
	l.writers.Wait()
	if err := l.failed.Load(); err != nil {
		t.Fatalf("write rows: %v", *err)
	}
	return l.committed.Load()
}

// awaitMore waits until a topic has more records than now, by a number.
func (p *pipe) awaitMore(t testing.TB, c *kgo.Client, topic string, more int64) {
	t.Helper()
	p.awaitSize(t, c, topic, p.size(t, c, topic)+more)
}

// awaitSize waits until a topic has a number of records.
func (p *pipe) awaitSize(t testing.TB, c *kgo.Client, topic string, goal int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("topic %s has %d records", topic, goal), func() string {
		if n := p.size(t, c, topic); n < goal {
			return fmt.Sprintf("%d", n)
		}
		return ""
	})
}

// exactlyOnce checks that a topic has the rows, each once and in order, and no
// other record.
func (p *pipe) exactlyOnce(t testing.TB, topic string, rows []row) {
	t.Helper()
	if again := p.atLeastOnce(t, topic, rows); again > 0 {
		t.Errorf("%d of %d rows were sent twice", again, len(rows))
	}
}

// atLeastOnce checks that a topic has the rows, with first deliveries in order.
// Redeliveries must be contiguous runs: after a step back, the events follow
// without a gap. It returns how many records are redeliveries.
func (p *pipe) atLeastOnce(t testing.TB, topic string, rows []row) (again int) {
	t.Helper()
	got := p.read(t, topic)
	for n, want := range byPartition(rows, p.partitions(t, p.client(t), topic)) {
		place := make(map[string]int, len(want))
		for i, r := range want {
			place[r.get("id")] = i
		}
		last, furthest := -1, -1
		for n >= len(got) {
			got = append(got, nil)
		}
		for _, record := range got[n] {
			id := show(headers(t, record)["id"])
			i, known := place[id[1:len(id)-1]]
			switch {
			case !known:
				t.Fatalf("partition %d, offset %d: event %s, which was not committed or belongs elsewhere", n, record.Offset, id)
			case i > last+1:
				t.Fatalf("partition %d, offset %d: event %d of the partition comes after event %d", n, record.Offset, i, last)
			case i <= furthest:
				again++
			}
			last, furthest = i, max(furthest, i)
		}
		if furthest != len(want)-1 {
			t.Errorf("partition %d: %d of %d events are missing at its end", n, len(want)-1-furthest, len(want))
		}
	}
	return again
}
