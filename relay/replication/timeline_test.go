package replication

import (
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"
)

func TestHistory(t *testing.T) {
	const file = "1\t0/A000060\tno recovery target specified\n\n# a comment\n2\t0/B000000\tbefore 2026-01-01 00:00:00+00\n3\t1/0\treason\n"
	past, err := parseHistory([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	h := History{Current: 4, past: past}
	for _, c := range []struct {
		lsn  pglogrepl.LSN
		want uint32
	}{
		{0, 1}, {0xA00005F, 1}, {0xA000060, 2}, {0xAFFFFFF, 2}, {0xB000000, 3}, {0xFFFFFFFF, 3}, {1 << 32, 4}, {1 << 40, 4},
	} {
		if got := h.Owner(c.lsn); got != c.want {
			t.Errorf("%v is of timeline %d, want %d", c.lsn, got, c.want)
		}
	}
	if got := (&History{Current: 1}).Owner(0x10); got != 1 {
		t.Errorf("without a history: timeline %d", got)
	}
	for _, bad := range []string{"1", "x\t0/10", "1\t0-10", "-1\t0/10", strings.Repeat("9", 20) + "\t0/10"} {
		if _, err := parseHistory([]byte(bad)); err == nil {
			t.Errorf("%q is a history", bad)
		}
	}
}
