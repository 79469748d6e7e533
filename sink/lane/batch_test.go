package lane

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"walpost/sink/recordbatch"
)

// Dividing keeps order, transactions and bytes held.
func TestDivide(t *testing.T) {
	make := func() *Batch {
		b := &Batch{}
		for i, tx := range []uint64{7, 7, 8, 9, 9, 9, 10} {
			// Timestamps that are far from each other make parts longer than they were in the whole.
			r := &recordbatch.Record{Timestamp: int64(i%2) << 40, Value: fmt.Appendf(nil, "v%d", i)}
			b.Append(r, r.Size(), Origin{Tx: tx})
		}
		return b
	}
	whole := values(make())
	for _, test := range []struct {
		cuts []int
		want string
	}{
		{[]int{3}, "[3 4]"}, {[]int{0, 1}, "[1 6]"}, {[]int{1, 2}, "[1 1 5]"}, {[]int{5, 6}, "[5 1 1]"}, {[]int{6, 7}, "[6 1]"}, {[]int{1}, "[1 6]"}, {[]int{6}, "[6 1]"},
	} {
		b := make()
		var counts []int32
		var got []string
		held := 0
		for _, part := range b.divide(&Pool{}, test.cuts...) {
			counts = append(counts, part.Count())
			got = append(got, values(part)...)
			held += part.held
			if part.held < 0 {
				t.Errorf("cuts %v: a part holds %d bytes", test.cuts, part.held)
			}
			rows := int32(0)
			for _, r := range part.runs {
				rows += r.Rows
			}
			if rows != part.Count() {
				t.Errorf("cuts %v: runs of %d rows for %d records", test.cuts, rows, part.Count())
			}
		}
		if fmt.Sprint(counts) != test.want || !slices.Equal(got, whole) || held != b.held {
			t.Errorf("cuts %v: parts of %v records, want %s; %v, holding %d of %d", test.cuts, counts, test.want, got, held, b.held)
		}
	}
}

// A part of a divided batch is divided again, and no part holds a negative number of bytes.
func TestDivideAgain(t *testing.T) {
	b := &Batch{}
	for i := range 64 {
		r := &recordbatch.Record{Timestamp: 1 << 40}
		if i == 32 {
			r.Timestamp = 0 // the right half's times are written against this one
		}
		b.Append(r, r.Size(), Origin{Tx: 1})
	}
	want := b.held
	parts := []*Batch{b}
	for range 6 {
		var next []*Batch
		for _, p := range parts {
			next = append(next, p.divide(&Pool{}, int(p.Count())/2)...)
		}
		parts = next
	}
	sum := 0
	for _, p := range parts {
		if sum += p.held; p.held < 0 {
			t.Errorf("a part holds %d bytes", p.held)
		}
	}
	if len(parts) != 64 || sum != want {
		t.Errorf("%d parts hold %d bytes of %d", len(parts), sum, want)
	}
}

// A batch from the pool shows nothing of its previous use.
func TestPoolGivesEmptyBatches(t *testing.T) {
	var p Pool
	for i := range 100 {
		b := p.Get()
		if b.Count() != 0 || b.Len() != recordbatch.HeadLen || b.Wire() != nil || len(b.runs) != 0 || b.held != 0 || b.seq != 0 {
			t.Fatalf("batch %d is not empty: %+v", i, b)
		}
		r := &recordbatch.Record{Value: make([]byte, 1000)}
		b.Append(r, r.Size(), Origin{Tx: 1})
		b.seq = 7
		p.Put(b)
	}
}

// A batch keeps the types of its events, also of those that come as records, and its parts have them after a division. Types count for the
// bytes that the events hold.
func TestTypes(t *testing.T) {
	types := func(batches ...*Batch) (list []string) {
		for _, b := range batches {
			b.Each(func(_ int, _ recordbatch.Raw, from Origin) { list = append(list, string(from.Type)) })
		}
		return list
	}
	var p Pool
	b, long := p.Get(), strings.Repeat("T", 300)
	want := []string{"", "", "OrderPlaced", "", long, "OrderPlaced"}
	held := 0
	for _, typ := range want {
		r := &recordbatch.Record{}
		n := b.Append(r, r.Size(), Origin{Tx: 1, Type: []byte(typ)})
		if held += n; n < len(typ) {
			t.Errorf("an event of type %q holds %d bytes", typ, n)
		}
	}
	if got := types(b); !slices.Equal(got, want) || b.Held() != held {
		t.Errorf("types %q, want %q; %d bytes of %d", got, want, b.Held(), held)
	}
	if got := types(b.divide(&p, 1, 2, 3)...); !slices.Equal(got, want) {
		t.Errorf("divided: types %q, want %q", got, want)
	}
	raw := p.Get()
	b.EachHeld(func(_ int, r recordbatch.Raw, from Origin, held int) { raw.AppendRaw(r, from, held) })
	p.Put(b)
	if got := types(raw); !slices.Equal(got, want) {
		t.Errorf("as records: types %q, want %q", got, want)
	}
	r := &recordbatch.Record{}
	raw = &Batch{pool: &p}
	raw.Append(r, r.Size(), Origin{Tx: 1, Type: []byte("OrderPlaced")})
	raw.Reset()
	raw.Append(r, r.Size(), Origin{Tx: 1})
	if got := types(raw); !slices.Equal(got, []string{""}) {
		t.Errorf("types %q of a batch that was emptied", got)
	}
	raw.Reset()
	raw.Append(r, r.Size(), Origin{Tx: 1, Type: make([]byte, 1<<20)})
	if raw.Reset(); cap(raw.types) > mostTypes {
		t.Errorf("an empty batch keeps %d bytes for types", cap(raw.types))
	}
}
