package e2e

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"walpost/internal/testenv/child"
	"walpost/internal/testenv/long"
)

// One huge transaction whose topic does not exist when it comes. The reader
// fills the byte budget and stops, and the process never needs much more memory.
// Then everything arrives.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	needPeak(t)
	rows := long.Or(300_000, 1_000_000) // both are several budgets
	const event = 1 << 10               // the last event is admitted by its size in the WAL, and counted by its size as a record
	p := newPipe(t).withSchema(t)
	p.plain = true // the race detector multiplies memory
	p.env["WALPOST_OUTBOX_BLOCKED_TOPIC"] = "wait"
	r := p.start(t)
	p.exec(t, fmt.Sprintf(`INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload)
		SELECT 'order', 'key-'||i %% 10000, 'huge', to_jsonb(i) FROM generate_series(1, %d) i`, rows))
	eventually(t, "the budget is used up", func() string {
		r.mustRun(t)
		used := r.metrics(t)["walpost_inflight_bytes"]
		if used > budget+event {
			t.Fatalf("%v bytes are in flight, and the budget is %v", used, budget)
		}
		if used < budget*9/10 {
			return fmt.Sprint(used)
		}
		return ""
	})
	topic := p.topic(t, "order", 6, nil)
	p.settle(t)
	r.checkPeak(t, "sends a transaction")
	r.stop(t)
	p.eachOnce(t, topic, rows)
}

// A transaction whose topic does not exist is parked within the same bound, also after a restart in its midst, and published within it.
func TestMemoryIsBoundedWhileParked(t *testing.T) {
	t.Parallel()
	needPeak(t)
	rows := long.Or(60_000, 1_000_000)
	p := newPipe(t).withSchema(t)
	p.plain = true
	p.env["WALPOST_OUTBOX_MAX_PARKED_BYTES"] = "4GiB"
	r := p.start(t)
	parked := func(n int) func() string {
		return func() string {
			r.mustRun(t)
			if got := ask[int](t, p.conn, "SELECT count(*)::int FROM walpost.dead_letters WHERE state = 'waiting' AND reason = 'topic_blocked'"); got < n {
				return fmt.Sprint(got)
			}
			return ""
		}
	}
	p.exec(t, fmt.Sprintf(`INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload)
		SELECT 'order', 'key-'||i %% 10000, 'huge', to_jsonb(i) FROM generate_series(1, %d) i`, rows))
	r.awaitOutput(t, "waiting for topic")
	p.topic(t, "there", 1, nil)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('there', 'x')") // it flows, and so the other topic is parked
	const wait = 10 * time.Minute
	within(t, wait, "half of it is parked", parked(rows/2))
	r.checkPeak(t, "parks a transaction")
	r.kill()
	r = p.start(t)
	within(t, wait, "all of it is parked", parked(rows))
	p.settle(t)
	r.checkPeak(t, "parks the rest")
	topic := p.topic(t, "order", 6, nil)
	within(t, wait, "all of it is published", func() string {
		r.mustRun(t)
		if n := r.metrics(t)["walpost_parked_topics"]; n > 0 {
			return ask[string](t, p.conn, "SELECT count(*)::text FROM walpost.dead_letters")
		}
		return ""
	})
	p.settle(t)
	r.checkPeak(t, "publishes what is parked")
	r.stop(t)
	p.eachOnce(t, topic, rows)
}

const budget, more = 32 << 20, 48 << 20 // memory that a process may take

func needPeak(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the peak of a process's memory is read from Linux's /proc")
	}
}

// checkPeak checks the most memory that walpost has had so far.
func (r *relay) checkPeak(t *testing.T, doing string) {
	t.Helper()
	peak := child.PeakRSS(r.PID())
	if peak == 0 {
		t.Fatal("no VmHWM in /proc")
	}
	t.Logf("walpost %s: peak RSS %d MiB, budget %d MiB", doing, peak>>20, budget>>20)
	if peak > budget+more {
		t.Errorf("walpost %s: peak RSS %d MiB, want at most %d MiB over the budget of %d MiB", doing, peak>>20, more>>20, budget>>20)
	}
}

// eachOnce checks that a topic has each row of one transaction once.
func (p *pipe) eachOnce(t *testing.T, topic string, rows int) {
	t.Helper()
	seen := make([]bool, rows)
	p.each(t, topic, func(record *kgo.Record) {
		var sequence string
		for _, h := range record.Headers { // without a map: there are many
			if h.Key == "ce_sequence" {
				sequence = string(h.Value)
			}
		}
		i, err := strconv.ParseUint(sequence[max(0, len(sequence)-8):], 16, 32)
		if err != nil || int(i) >= rows || seen[i] {
			t.Fatalf("row %s of %d: out of range or twice", sequence, rows)
		}
		seen[i] = true
	})
	for i, there := range seen {
		if !there {
			t.Fatalf("row %d is missing", i)
		}
	}
}
