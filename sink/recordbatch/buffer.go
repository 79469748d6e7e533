package recordbatch

import (
	"math/bits"
	"sync"
)

// Buffers come from pools and go back to them. There is a pool for each size class, from 512 bytes to 1 MiB, with four classes from one
// power of two to the next. A full batch moves to the next larger class, and gives its old buffer to the next batch. Without pools, a
// backlog of batches would take three times its size until the garbage collector runs. The smallest class is small, because ten thousand
// lanes may hold a batch of one event each. The steps are small, because no budget counts the empty part of a buffer. Where a caller counts
// it, the steps are large, see RoomFor.
const (
	smallest = 9  // 512 bytes
	largest  = 20 // 1 MiB: a larger batch holds one large record, and is rare
	even     = 14 // 16 KiB: above it, RoomFor returns only powers of two
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

// RoomFor returns how much room [Batch.Reserve] reserves for n bytes, including the head. Above 16 KiB this is a power of two. If a few
// large batches had many different sizes, each would need a buffer of its own, and no processor cache would hold them all.
func RoomFor(n int) int {
	if n > 1<<even && n <= 1<<largest {
		return 1 << bits.Len(uint(n-1))
	}
	if class, size := classOf(n); class < len(buffers) {
		return size
	}
	return n
}

// takeBuffer returns an empty buffer with room for n bytes and little more.
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

// giveBuffer puts a buffer that is no longer used back into its pool.
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
		need += len(b) / 2 // there is no pool for this size, so do not double it; but do not copy the batch for each record either
	}
	return moved(b, need)
}

// moved returns b in a buffer with room for n bytes in total.
func moved(b []byte, n int) []byte {
	other := append(takeBuffer(n), b...)
	giveBuffer(b)
	return other
}
