package schema

import (
	"bytes"
	"fmt"
	"testing"
)

type field struct {
	format Format
	value  []byte
}

// binaryRow is a row in which every column has to be converted.
func binaryRow(t testing.TB) (*Plan, []field) {
	cols := with("aggregateid", 20, "bigint")
	cols[4] = TableColumn{"payload", 17, "bytea"}
	return mustPlan(t, DefaultMapping(), cols), []field{
		{BinaryFormat, make([]byte, 16)},
		{TextFormat, []byte("orders")},
		{BinaryFormat, make([]byte, 8)},
		{TextFormat, []byte("OrderPlaced")},
		{TextFormat, fmt.Appendf(nil, `\x%x`, bytes.Repeat([]byte("p"), 225))},
		{BinaryFormat, []byte("\x01{}")},
		{TextFormat, []byte("2026-11-20 12:34:56.789012+00")},
	}
}

// textRow is a row of walpost.outbox as pgoutput sends it by default.
func textRow(t testing.TB) (*Plan, []field) {
	return mustPlan(t, DefaultMapping(), outboxColumns()), []field{
		{TextFormat, []byte("0d962b1e-5452-4e3b-a55e-4f6f4c27e011")},
		{TextFormat, []byte("orders")},
		{TextFormat, []byte("4711")},
		{TextFormat, []byte("OrderPlaced")},
		{TextFormat, bytes.Repeat([]byte("p"), 225)},
		{TextFormat, nil},
		{TextFormat, []byte("2026-11-20 12:34:56.789012+00")},
	}
}

func setRow(t testing.TB, p *Plan, ev *Event, row []field) {
	p.Reset(ev)
	for i, f := range row {
		if err := p.Set(ev, i, f.format, f.value); err != nil {
			t.Fatal(err)
		}
	}
}

// Compare with: go test ./schema -run '^$' -bench Set -count 10 | benchstat -
func BenchmarkSet(b *testing.B) {
	for name, make := range map[string]func(testing.TB) (*Plan, []field){"text": textRow, "converted": binaryRow} {
		b.Run(name, func(b *testing.B) {
			p, row := make(b)
			ev := &Event{}
			b.ReportAllocs()
			for b.Loop() {
				setRow(b, p, ev, row)
			}
		})
	}
}
