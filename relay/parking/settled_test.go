package parking

import (
	"math"
	"runtime"
	"testing"

	"walpost/schema"
)

func TestSettled(t *testing.T) {
	s := settled{}
	in := map[schema.Position]bool{}
	for _, tx := range []schema.Position{{Timeline: 1, LSN: 100}, {Timeline: 2, LSN: 100}, {Timeline: 2, LSN: 200}} {
		for _, index := range []uint32{0, 1, 63, 64, 127, 128, 1 << 20, math.MaxUint32} {
			tx.Index = index
			in[tx] = index%2 == 1
			s.add(tx, in[tx])
		}
	}
	check := func() {
		for _, tx := range []schema.Position{{Timeline: 1, LSN: 100}, {Timeline: 2, LSN: 100}, {Timeline: 2, LSN: 200}, {Timeline: 1, LSN: 200}} {
			for _, index := range []uint32{0, 1, 2, 62, 63, 64, 65, 126, 127, 128, 129, 1 << 20, 1<<20 + 1, math.MaxUint32 - 1, math.MaxUint32} {
				tx.Index = index
				wantReleased, want := in[tx]
				if found, released := s.find(tx); found != want || released != wantReleased {
					t.Errorf("%s: found %t, released %t", tx, found, released)
				}
			}
		}
	}
	check()
	s.forget(200)
	for at := range in {
		if at.LSN < 200 {
			delete(in, at)
		}
	}
	check()
	if s.forget(201); len(s) != 0 {
		t.Errorf("%d entries are left", len(s))
	}
}

// After a restart in a transaction of a million events, which are parked, these take little memory.
func TestSettledTransactionIsSmall(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := settled{}
	for i := range uint32(1_000_000) {
		s.add(schema.Position{LSN: 100, Index: i}, false)
	}
	if took := int64(heap()) - int64(before); took > 2<<20 {
		t.Errorf("%d bytes for a million events", took)
	}
	runtime.KeepAlive(s)
}

// settledAt returns events with these numbers, see at.
func settledAt(released bool, numbers ...uint64) settled {
	s := settled{}
	for _, n := range numbers {
		s.add(at(n), released)
	}
	return s
}
