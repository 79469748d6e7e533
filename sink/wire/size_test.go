package wire

import (
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
)

// written returns how many bytes the splicer writes for a request of these parts.
func written(t *testing.T, parts []Part, version int16) int {
	s, conn := NewSplicer(nil), new(counting)
	if _, err := newSpliceConn(conn, s, "pipe:0").Write(placeholderOf(t, parts, s.add(parts), version)); err != nil {
		t.Fatal(err)
	}
	return conn.n
}

// counting is a connection that accepts everything.
type counting struct {
	net.Conn
	n int
}

func (c *counting) Write(b []byte) (int, error) {
	c.n += len(b)
	return len(b), nil
}

// The size that is counted while parts are gathered is never less than the bytes that are written, in either layout. It is little more if
// the parts of one topic come one after the other.
func TestSizeOfARequest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const client = "walpost-test" // as placeholderOf has it
	for round := range 30 {
		var parts []Part
		topics := 1 + r.IntN(5)
		for range 1 + r.IntN(400) {
			name := strings.Repeat(string(rune('a'+r.IntN(topics))), 1+r.IntN(3)*124)
			parts = append(parts, Part{name, r.Int32N(1000), make([]byte, 1+r.IntN(300))})
		}
		if round == 0 {
			large := make([]byte, 3<<20) // lengths of four bytes
			parts = nil
			for n := range int32(10) {
				parts = append(parts, Part{"t", n, large})
			}
		}
		gathered, names := NewSize(client), map[string]bool{}
		for _, p := range parts {
			gathered = gathered.With(p.Topic, len(p.Batch))
			names[p.Topic] = true
		}
		slices.SortStableFunc(parts, func(a, b Part) int { return strings.Compare(a.Topic, b.Topic) })
		sorted := NewSize(client)
		for _, p := range parts {
			sorted = sorted.With(p.Topic, len(p.Batch))
		}
		for _, version := range []int16{usualProduce, flexibleProduce} {
			n := written(t, parts, version)
			if gathered.Bytes() < n || sorted.Bytes() < n || sorted.Bytes() > n+8+8*len(names)+8*len(parts) {
				t.Errorf("version %d, %d parts of %d topics: %d bytes are written, %d were counted as they came, %d in order", version, len(parts), len(names), n, gathered.Bytes(), sorted.Bytes())
			}
			if version == usualProduce && sorted.Bytes() > n+3+len(parts) {
				t.Errorf("version %d, %d parts: %d bytes are written, %d counted", version, len(parts), n, sorted.Bytes())
			}
		}
	}
	one := []Part{{strings.Repeat("t", longestTopic), 7, make([]byte, 5000)}}
	for _, version := range []int16{usualProduce, flexibleProduce} {
		if n := written(t, one, version) - 5000; n > Overhead(client) || n < Overhead(client)-10 {
			t.Errorf("version %d: a request takes %d bytes besides its batch, not %d", version, n, Overhead(client))
		}
	}
}
