package schema

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestPositionText(t *testing.T) {
	for _, c := range []struct {
		position Position
		text     string
	}{
		{Position{}, "00000000-0000000000000000-00000000"},
		{Position{Timeline: 1, LSN: 0x16B3748, Index: 2}, "00000001-00000000016B3748-00000002"},
		{Position{Timeline: 0xAB, LSN: 0xDEADBEEF_00C0FFEE, Index: 0x10}, "000000AB-DEADBEEF00C0FFEE-00000010"},
		{Position{math.MaxUint32, math.MaxUint32, math.MaxUint64}, "FFFFFFFF-FFFFFFFFFFFFFFFF-FFFFFFFF"},
	} {
		if got := c.position.String(); got != c.text {
			t.Errorf("%+v is %s, want %s", c.position, got, c.text)
		}
		got, err := c.position.AppendText([]byte("at "))
		if err != nil || string(got) != "at "+c.text || len(c.text) != PositionLen {
			t.Errorf("%+v appended is %q (%v), want it after what was there, %d bytes", c.position, got, err, PositionLen)
		}
	}
}

// Positions sort by timeline, then by LSN, then by index. Their texts sort in the same order, byte by byte, because consumers compare the
// texts.
func TestPositionsCompareAsTheirTexts(t *testing.T) {
	numbers := []uint64{0, 1, 2, 9, 10, 15, 16, 0xFF, 0x100, math.MaxUint32 - 1, math.MaxUint32}
	var ordered []Position
	for _, timeline := range numbers {
		for _, lsn := range append(slices.Clone(numbers), 1<<32, math.MaxUint64) {
			for _, index := range numbers {
				ordered = append(ordered, Position{Timeline: uint32(timeline), LSN: lsn, Index: uint32(index)})
			}
		}
	}
	for i := 1; i < len(ordered); i++ {
		p, q := ordered[i-1], ordered[i]
		if p.Compare(q) != -1 || q.Compare(p) != 1 || q.Compare(q) != 0 {
			t.Errorf("%v does not come before %v", p, q)
		}
		if p.String() >= q.String() {
			t.Errorf("the text %v does not come before %v", p, q)
		}
	}

	drawn := slices.Clone(ordered)
	rand.Shuffle(len(drawn), func(i, j int) { drawn[i], drawn[j] = drawn[j], drawn[i] })
	slices.SortFunc(drawn, Position.Compare)
	if !slices.Equal(drawn, ordered) {
		t.Error("sorted by Compare, positions stand in another order than by timeline, LSN and index")
	}
}

func TestPositionTextAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, PositionLen)
	p := Position{Timeline: 7, LSN: 1 << 40, Index: 3}
	if n := testing.AllocsPerRun(100, func() { buf, _ = p.AppendText(buf[:0]) }); n != 0 {
		t.Errorf("AppendText allocates %v times", n)
	}
}
