package e2e

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"walpost/internal/testenv/child"
	"walpost/internal/testenv/long"
)

// One huge transaction whose topic does not exist when it comes. The reader
// fills the byte budget and stops, and the process never needs much more memory.
// Then everything arrives.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the peak of a process's memory is read from Linux's /proc")
	}
	rows := long.Or(300_000, 1_000_000) // both are several budgets
	const budget, more = 32 << 20, 48 << 20
	const event = 1 << 10 // the last event is admitted by its size in the WAL, and counted by its size as a record
	p := newPipe(t).withSchema(t)
	p.plain = true // the race detector multiplies memory
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
	peak := child.PeakRSS(r.PID())
	if peak == 0 {
		t.Fatal("no VmHWM in /proc")
	}
	r.stop(t)
	t.Logf("%d rows in one transaction: peak RSS %d MiB, budget %d MiB", rows, peak>>20, budget>>20)
	if peak > budget+more {
		t.Errorf("peak RSS %d MiB, want at most %d MiB over the budget of %d MiB", peak>>20, more>>20, budget>>20)
	}

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
