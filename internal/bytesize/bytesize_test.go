package bytesize

import (
	"math"
	"testing"
)

func TestFormat(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 bytes", 1: "1 bytes", 1023: "1023 bytes", 1024: "1.0 KiB", 1536: "1.5 KiB", 17 << 20: "17.0 MiB", 3 << 30: "3.0 GiB", 1 << 40: "1.0 TiB",
		math.MaxInt64: "8.0 EiB", -5: "-5 bytes",
	} {
		if got := Format(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
