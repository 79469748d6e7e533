package recordbatch_test

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"walpost/sink/recordbatch"
)

// A sealed batch takes little more memory than the bytes to send: an outage leaves ten thousand lanes with one, and all waiting events may
// be in such batches.
func TestSealedBatchesTakeLittle(t *testing.T) {
	for _, test := range []struct {
		name             string
		batches, payload int
		random           bool // it cannot be compressed
	}{
		{"small", 1000, 900, true},
		{"large", 20, 200_000, true},
		{"compressed", 1000, 20_000, false},
	} {
		for _, codec := range []recordbatch.Codec{recordbatch.None, recordbatch.LZ4, recordbatch.Zstd} {
			t.Run(test.name+" "+codec.String(), func(t *testing.T) {
				e := encoder(t, codec)
				all, random := make([]recordbatch.Batch, test.batches), rand.NewChaCha8([32]byte{1})
				r := &recordbatch.Record{Value: make([]byte, test.payload)}
				var first recordbatch.Batch // from which the encoder has its own memory
				first.Append(r, r.Size())
				seal(t, &first, e, recordbatch.Stamp{})
				before, sent := heap(), 0
				for i := range all {
					if test.random {
						random.Read(r.Value)
					}
					all[i].Append(r, r.Size())
					sent += len(seal(t, &all[i], e, recordbatch.Stamp{}))
				}
				if took, most := heap()-before, sent*14/10+test.batches*600+1<<19; took > most {
					t.Errorf("%d bytes of heap for %d that are sent, want %d at most", took, sent, most)
				}
				runtime.KeepAlive(all)
			})
		}
	}
}

// heap returns the bytes that are in use.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools give up what two collections found unused
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
