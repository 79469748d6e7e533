package lane

import (
	"runtime"
	"testing"
	"time"

	"walpost/sink/recordbatch"
)

// After a bulk load, each lane remembers large batches. One small event on each of many lanes must not take as much memory as those: no
// budget counts memory that is reserved and empty.
func TestSmallEventsBehindABulkLoad(t *testing.T) {
	const lanes, limit = 1000, 256 << 10
	var pool Pool
	s := newBench(t, Identity{}).sender
	all := openLanes(&pool, lanes)
	send := func(l *Lane) {
		l.SetSender(s)
		for {
			b, err := l.Take(s, s.encoder, "")
			if err != nil {
				t.Fatal(err)
			}
			if b == nil {
				return
			}
			l.Settle(Outcome{})
			pool.Put(b)
		}
	}
	for _, l := range all {
		pass(t, l, 10_000, limit, limit/10_100)
		send(l)
	}
	for round := range 3 { // what was reserved comes back, and may be reserved again
		before := heap()
		for _, l := range all {
			pass(t, l, 100, limit, 1)
		}
		if took := int(heap()) - int(before); took > maxUnused+lanes*(5<<10) {
			t.Errorf("round %d: %d events of 100 bytes take %d KiB", round, lanes, took>>10)
		}
		if unused := pool.unused.Load(); unused <= 0 && round == 0 || unused > maxUnused {
			t.Errorf("round %d: %d bytes are reserved, which is not between 1 and %d", round, unused, maxUnused)
		}
		for _, l := range all {
			send(l)
		}
		if unused := pool.unused.Load(); unused != 0 {
			t.Errorf("round %d: %d bytes are reserved while no event is there", round, unused)
		}
		for _, l := range all {
			l.sealedLen = limit
		}
	}
}

// openLanes returns lanes of a pool that accept events.
func openLanes(pool *Pool, n int) []*Lane {
	all := make([]*Lane, n)
	for i := range all {
		all[i] = New(Identity{}, pool, nil)
		all[i].Accept(1)
	}
	return all
}

// pass hands a number of events of one transaction over to a lane, whose batches have at most limit bytes. It returns the bytes that they
// hold.
func pass(t *testing.T, l *Lane, bytes, limit, events int) (held int) {
	t.Helper()
	if !l.Enter(1) {
		t.Fatal("the lane is closed")
	}
	r := &recordbatch.Record{Value: make([]byte, bytes)}
	for range events {
		held += l.Append(r, r.Size(), limit, Origin{Tx: 1}, false)
	}
	l.HandOver(time.Now())
	return held
}

// heap returns the bytes that are in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools give up what two collections found unused
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Memory that an event uses is no longer reserved. So a lane whose batches fill up as before always gets its room at once.
func TestReservedRoomIsUsed(t *testing.T) {
	var pool Pool
	b := pool.Get()
	pool.reserve(b, maxUnused)
	if other := pool.Get(); pool.reserve(other, 1000) {
		t.Error("more was reserved than may be")
	}
	r := &recordbatch.Record{Value: make([]byte, 1<<20)}
	b.Append(r, r.Size(), Origin{Tx: 1})
	b.recount()
	if want := int64(maxUnused - b.Len()); pool.unused.Load() != want {
		t.Errorf("%d bytes are reserved, want %d", pool.unused.Load(), want)
	}
	pool.Put(b)
	if pool.unused.Load() != 0 {
		t.Errorf("%d bytes are still reserved without a batch", pool.unused.Load())
	}
}

// Small events on many lanes take little more memory than they hold of the budget.
func TestScatteredEventsHoldWhatTheyTake(t *testing.T) {
	const lanes = 5000
	var pool Pool
	all := openLanes(&pool, lanes)
	before, held := heap(), 0
	for _, l := range all {
		held += pass(t, l, 100, 256<<10, 1)
	}
	if took := int(heap()) - int(before); took > 2*held {
		t.Errorf("%d events take %d bytes, and hold %d of the budget", lanes, took, held)
	}
	runtime.KeepAlive(all)
}

// A compressed batch has no empty room any more, so other lanes may reserve it.
func TestCompressedBatchReservesNothing(t *testing.T) {
	var pool Pool
	l := openLanes(&pool, 1)[0]
	l.sealedLen = 100 << 10
	pass(t, l, 100, 256<<10, 1)
	if pool.unused.Load() == 0 {
		t.Fatal("nothing is reserved")
	}
	e, err := recordbatch.NewEncoder(recordbatch.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	s := newBench(t, Identity{}).sender
	l.SetSender(s)
	if b, err := l.Take(s, e, ""); b == nil || err != nil {
		t.Fatal(b, err)
	}
	if unused := pool.unused.Load(); unused != 0 {
		t.Errorf("%d bytes are reserved for a batch that is compressed", unused)
	}
}

// Batches that grow event by event take little more than they hold of the budget, however many lanes share it. If there are only a few,
// they grow in large steps, which copy each event less often.
func TestGrownBatchesHoldWhatTheyTake(t *testing.T) {
	const budget = 32 << 20
	for _, lanes := range []int{1, 6, 240, 480, 950, 1850} {
		var pool Pool
		all := openLanes(&pool, lanes)
		before, held := heap(), 0
		for most := int64(0); held < budget; {
			for _, l := range all {
				held += pass(t, l, 300, 1_000_000, 1)
			}
			if most = max(most, pool.unused.Load()); most > maxUnused || lanes == 1 && held > 100_000 && most < 1000 {
				t.Fatalf("%d lanes: %d bytes are reserved and not used", lanes, most)
			}
		}
		if took, most := int(heap())-int(before), held*5/4+maxUnused; took > most {
			t.Errorf("%d lanes take %d KiB and hold %d KiB of the budget, want %d KiB at most", lanes, took>>10, held>>10, most>>10)
		} else {
			t.Logf("%d lanes take %d KiB and hold %d KiB of the budget, %d KiB are reserved", lanes, took>>10, held>>10, pool.unused.Load()>>10)
		}
		runtime.KeepAlive(all)
	}
}
