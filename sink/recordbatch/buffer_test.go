package recordbatch

import "testing"

// A buffer has the requested room, and little more. It goes back to the class that it came from.
func TestBufferSizes(t *testing.T) {
	before := -1
	for n := 1; n <= 1<<largest; n++ {
		class, size := classOf(n)
		if size < n || n > 1<<smallest && size*4 > n*5+4 {
			t.Fatalf("%d bytes get a buffer of %d", n, size)
		}
		if class != before && class != before+1 {
			t.Fatalf("class %d behind class %d", class, before)
		}
		before = class
		if again, same := classOf(size); again != class || same != size {
			t.Fatalf("a buffer of %d bytes goes back to class %d, not %d", size, again, class)
		}
	}
	if before != len(buffers)-1 {
		t.Errorf("%d classes, want %d", before+1, len(buffers))
	}
	if class, _ := classOf(1<<largest + 1); class < len(buffers) {
		t.Errorf("more than the largest is of class %d", class)
	}
}
