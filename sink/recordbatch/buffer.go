package recordbatch

import (
	"math/bits"
	"sync"
)

// Buffers come from pools by size, powers of two from 4 KiB to 1 MiB, and go back there. A batch grows by doubling: what it outgrew, the
// next one starts with. Left to the garbage collector, a backlog of batches would take three times its size before it is collected.
const (
	smallest = 12 // 4 KiB
	largest  = 20 // 1 MiB: larger batches hold one large record, and are rare
)

var buffers [largest - smallest + 1]sync.Pool // of *[]byte

// takeBuffer returns an empty buffer with room for n bytes.
func takeBuffer(n int) []byte {
	class := max(bits.Len(uint(max(n, 1)-1)), smallest)
	if class > largest {
		return make([]byte, 0, n)
	}
	if b, ok := buffers[class-smallest].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 1<<class)
}

// giveBuffer takes back a buffer that nobody uses any more.
func giveBuffer(b []byte) {
	if n := cap(b); n >= 1<<smallest && n <= 1<<largest && n&(n-1) == 0 {
		buffers[bits.Len(uint(n))-1-smallest].Put(&b)
	}
}

// grown returns b with room for n more bytes.
func grown(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	if len(b)+n > 1<<largest {
		n += len(b) / 2 // not from a pool, so not by doubling: yet a batch must not be copied for each record
	}
	larger := append(takeBuffer(len(b)+n), b...)
	giveBuffer(b)
	return larger
}
