package e2e

import (
	"maps"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// record is the part of a record that the tests check.
type record struct {
	key, value *string
	headers    map[string]*string
	timestamp  int64 // ms
}

func recordOf(t testing.TB, r *kgo.Record) record {
	t.Helper()
	return record{key: text(r.Key), value: text(r.Value), headers: headers(t, r), timestamp: r.Timestamp.UnixMilli()}
}

// recordFor returns the record that a row of walpost.outbox must become. user
// are the pairs of its headers column.
func (p *pipe) recordFor(t testing.TB, r row, user map[string]*string) record {
	t.Helper()
	id, source, version, json := r.get("id"), "/walpost/"+p.db.Name+"/walpost.outbox", "1.0", "application/json"
	typ, at, sequence := r.get("type"), instant(t, r.get("created_at")), r.sequence()
	h := map[string]*string{
		"id": &id, "ce_specversion": &version, "ce_id": &id, "ce_source": &source, "ce_type": &typ,
		"ce_time": &at, "ce_sequence": &sequence,
	}
	if typ == "" {
		h["ce_type"] = r.values["aggregatetype"]
	}
	if key := r.values["aggregateid"]; key != nil {
		h["ce_subject"] = key
	}
	if r.values["payload"] != nil {
		h["content-type"] = &json
	}
	maps.Copy(h, user)
	return record{key: r.values["aggregateid"], value: r.values["payload"], headers: h, timestamp: r.committed.UnixMilli()}
}

// diff reports how a record differs from the expected one.
func diff(t testing.TB, at string, got, want record) {
	t.Helper()
	if show(got.key) != show(want.key) {
		t.Errorf("%s: key %s, want %s", at, show(got.key), show(want.key))
	}
	if show(got.value) != show(want.value) {
		t.Errorf("%s: value %s, want %s", at, show(got.value), show(want.value))
	}
	if got.timestamp != want.timestamp {
		t.Errorf("%s: timestamp %d, want %d", at, got.timestamp, want.timestamp)
	}
	names := slices.Concat(slices.Collect(maps.Keys(got.headers)), slices.Collect(maps.Keys(want.headers)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		g, inGot := got.headers[name]
		w, inWant := want.headers[name]
		switch {
		case !inGot:
			t.Errorf("%s: no header %s, want %s", at, name, show(w))
		case !inWant:
			t.Errorf("%s: header %s = %s, want none", at, name, show(g))
		case show(g) != show(w):
			t.Errorf("%s: header %s = %s, want %s", at, name, show(g), show(w))
		}
	}
}

// byPartition assigns rows to partitions as a Java producer does.
func byPartition(rows []row, partitions int) [][]row {
	dealt := make([][]row, partitions)
	for _, r := range rows {
		key := r.values["aggregateid"]
		if key == nil { // then the id decides
			key = r.values["id"]
		}
		n := javaPartition([]byte(*key), partitions)
		dealt[n] = append(dealt[n], r)
	}
	return dealt
}
