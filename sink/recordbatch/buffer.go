package recordbatch

import (
	"math/bits"
	"sync"
)

// Buffers come from pools by size, from 512 bytes to 1 MiB, and go back there. There are four sizes from one power of two to the next. A batch
// takes the next larger one when it is full: what it outgrew, the next one starts with. Left to the garbage collector, a backlog of batches
// would take three times its size before it is collected. The smallest is small, because ten thousand lanes may hold a batch of one event
// each, and the steps are small, because what is empty counts for no budget. Where somebody counts it, there are large steps, see RoomFor.
const (
	smallest = 9  // 512 bytes
	largest  = 20 // 1 MiB: larger batches hold one large record, and are rare
	even     = 14 // 16 KiB: above that RoomFor knows powers of two only
)

var buffers [4*(largest-smallest) + 1]sync.Pool // of *[]byte, by class

// classOf returns the class of the smallest buffer with room for n bytes, and how much room it has.
func classOf(n int) (class, size int) {
	power := max(bits.Len(uint(max(n, 1)-1)), smallest)
	class, size = 4*(power-smallest), 1<<power
	for step := size / 8; class%4 != 1 && class > 0 && n <= size-step; {
		class, size = class-1, size-step
	}
	return class, size
}

// RoomFor returns how much room [Batch.Reserve] gives when it is asked for n bytes, head included. Large rooms come in powers of two: a few
// large batches of many sizes would each have a buffer of their own, which no processor's cache holds.
func RoomFor(n int) int {
	if n > 1<<even && n <= 1<<largest {
		return 1 << bits.Len(uint(n-1))
	}
	if class, size := classOf(n); class < len(buffers) {
		return size
	}
	return n
}

// takeBuffer returns an empty buffer with room for n bytes and hardly more.
func takeBuffer(n int) []byte {
	class, size := classOf(n)
	if class >= len(buffers) {
		return make([]byte, 0, n)
	}
	if b, ok := buffers[class].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, size)
}

// giveBuffer takes back a buffer that nobody uses any more.
func giveBuffer(b []byte) {
	if class, size := classOf(cap(b)); class < len(buffers) && size == cap(b) {
		buffers[class].Put(&b)
	}
}

// grown returns b with room for n more bytes.
func grown(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	need := len(b) + n
	if need > 1<<largest {
		need += len(b) / 2 // not from a pool, so not by doubling: yet a batch must not be copied for each record
	}
	return moved(b, need)
}

// moved returns b in a buffer with room for n bytes altogether.
func moved(b []byte, n int) []byte {
	other := append(takeBuffer(n), b...)
	giveBuffer(b)
	return other
}
