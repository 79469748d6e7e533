package decoder

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strconv"
	"testing"
)

// FuzzDecode decodes a stream of messages, each after its length as in the capture files. No stream may cause a panic, or allocations of
// more than a multiple of its size. The result must be the same as that of pglogrepl. The corpus consists of real messages.
//
//	go test ./decoder -run '^$' -fuzz FuzzDecode -fuzztime 60s -fuzzminimizetime 20x
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, stream []byte) {
		messages := frames(stream)
		checkAllocation(t, messages, len(stream))

		var r *reference
		var of *Decoder
		decodeAll(messages, func(m []byte, d *Decoder, c Change) {
			if d != of {
				r, of = newReference(d), d
			}
			if err := r.check(m, c); err != nil {
				t.Fatalf("%q: %v", m, err)
			}
		})
	})
}

// checkAllocation: a column of a Relation message has at least 10 bytes, and takes about 200 in the plan and its error. The fuzzing engine
// allocates in the same process, so one measurement may be too high, but not several. Every message may need a new decoder.
func checkAllocation(t *testing.T, messages [][]byte, size int) {
	t.Helper()
	limit := uint64(50_000 + 2_000*len(messages) + 64*size)
	least := uint64(math.MaxUint64)
	for range 5 {
		before := allocated()
		decodeAll(messages, func([]byte, *Decoder, Change) {})
		if least = min(least, allocated()-before); least <= limit {
			return
		}
	}
	t.Errorf("%d bytes allocated for a stream of %d, the limit is %d", least, size, limit)
}

// decodeAll calls see with every decoded message. After an error it continues with a new decoder, as a new session would.
func decodeAll(messages [][]byte, see func([]byte, *Decoder, Change)) {
	d := newDecoder()
	for _, m := range messages {
		c, err := d.Decode(m)
		if err != nil {
			d = newDecoder()
			continue
		}
		see(m, d, c)
	}
}

// frames splits a stream into messages. The last message may be incomplete.
func frames(stream []byte) [][]byte {
	var messages [][]byte
	for len(stream) >= 4 {
		n := min(int(binary.BigEndian.Uint32(stream)), len(stream)-4)
		messages = append(messages, stream[4:4+n:4+n])
		stream = stream[4+n:]
	}
	return messages
}

// allocated returns how many bytes the process has allocated in total since its start.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// writeSeed writes a captured stream as a corpus entry.
func writeSeed(t *testing.T, name string, stream []byte) {
	t.Helper()
	entry := "go test fuzz v1\n[]byte(" + strconv.Quote(string(stream)) + ")\n"
	if err := os.WriteFile(filepath.Join("testdata/fuzz/FuzzDecode", name), []byte(entry), 0o644); err != nil {
		t.Fatal(err)
	}
}
