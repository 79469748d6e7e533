package relay

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"walpost/internal/testenv/long"
	"walpost/relay/internal/dbtest"
)

// TestMemoryIsBoundedWhateverTheTransaction: a transaction of any size and a slow sink take no more memory than the budget and the read
// buffer.
func TestMemoryIsBoundedWhateverTheTransaction(t *testing.T) {
	rows := long.Or(100_000, 1_000_000)
	const budget = 1 << 20
	f := newFixture(t)
	f.sink.setAuto(false)
	f.sink.forget = true
	f.cfg.MaxInFlightBytes = budget
	r := f.start()
	f.Insert(rows)
	dbtest.Until(t, "the budget is used up", func() bool { return f.sink.holds() > budget-1024 })
	time.Sleep(100 * time.Millisecond) // there is nothing to wait for: no further event may come
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	runtime.GC()
	var start, now runtime.MemStats
	runtime.ReadMemStats(&start)
	most := uint64(0)
	for acked, looks := 0, 0; acked < rows; looks++ {
		n := f.sink.ack(2000)
		if acked += n; n == 0 {
			time.Sleep(time.Millisecond)
		}
		if looks%10 > 0 {
			continue
		}
		if runtime.ReadMemStats(&now); now.HeapAlloc > start.HeapAlloc {
			most = max(most, now.HeapAlloc-start.HeapAlloc)
		}
	}
	t.Logf("%d rows, at most %d KiB more heap, %d KiB held", rows, most>>10, f.sink.most>>10)
	if f.sink.most > budget+4096 {
		t.Errorf("the sink held %d bytes, the budget is %d", f.sink.most, budget)
	}
	if most > 16<<20 {
		t.Errorf("the heap grew by %d bytes", most)
	}
	end := f.LSN("select pg_current_wal_flush_lsn()")
	dbtest.Until(t, "the slot follows", func() bool { return f.Confirmed() >= end })
	r.stop()
}

// TestRelayLargeEvent: an event larger than the budget and the read buffer is published, while nothing else is in flight.
func TestRelayLargeEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.MaxInFlightBytes = 1 << 20
	r := f.start()
	f.Insert(1)
	f.Exec(`insert into walpost.outbox (aggregatetype, aggregateid, type, payload) values ('order', '1', 'large', to_jsonb(repeat('x', 5000000)))`)
	f.Insert(1)
	dbtest.Until(t, "3 events", func() bool { return f.sink.count() == 3 })
	r.stop()
	if got := len(f.sink.all()[1].payload); got != 5_000_002 {
		t.Errorf("payload of %d bytes", got)
	}
}
