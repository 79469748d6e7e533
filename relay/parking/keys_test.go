package parking

import (
	"testing"

	"walpost/schema"
)

func at(n uint64) schema.Position { return schema.Position{Timeline: 1, LSN: n} }

func head(key string, n uint64) *schema.DeadLetter {
	return &schema.DeadLetter{Topic: "t", Key: []byte(key), At: at(n), Head: true}
}

// Later events of a parked key are parked, and those before its lowest position, of another key, of another topic and without a key are not.
func TestVerdict(t *testing.T) {
	k := newKeys()
	if k.sifting.Load() {
		t.Error("it sifts while nothing is parked")
	}
	k.hold(head("a", 5))
	k.hold(head("a", 4))
	k.hold(&schema.DeadLetter{Topic: "t", At: at(6), Head: true})
	k.settled = map[schema.Position]struct{}{at(7): {}} // it has a dead letter
	for _, c := range []struct {
		topic string
		key   []byte
		at    uint64
		want  schema.Verdict
	}{
		{"t", []byte("a"), 6, schema.Park}, {"t", []byte("a"), 5, schema.Park}, {"t", []byte("a"), 4, schema.Send}, {"t", []byte("a"), 3, schema.Send},
		{"t", []byte("b"), 6, schema.Send}, {"u", []byte("a"), 6, schema.Send}, {"t", nil, 9, schema.Send}, {"t", []byte{}, 9, schema.Send},
		{"t", []byte("a"), 7, schema.Settle}, {"t", nil, 7, schema.Settle},
	} {
		if got := k.verdict(c.topic, c.key, at(c.at), false); got != c.want {
			t.Errorf("%s %q at %d: %d, want %d", c.topic, c.key, c.at, got, c.want)
		}
	}
}

// A key is given free only if no event of it is on its way to the table.
func TestFree(t *testing.T) {
	k := newKeys()
	first := head("a", 5)
	k.hold(first)
	n := name{"t", "a"}
	if k.free(n) {
		t.Error("free while its first event is pending")
	}
	k.written([]*schema.DeadLetter{first})
	later := &schema.DeadLetter{Topic: "t", Key: []byte("a"), At: at(6)}
	k.verdict("t", later.Key, later.At, false)
	if k.free(n) {
		t.Error("free while a later event is pending")
	}
	k.hold(later)
	k.written([]*schema.DeadLetter{later})
	if !k.free(n) || k.sifting.Load() || k.verdict("t", later.Key, at(9), false) != schema.Send {
		t.Error("not free")
	}
}

// Of a replay that was refused, nothing more is sent.
func TestReturned(t *testing.T) {
	k := newKeys()
	k.hold(head("a", 5))
	if v := k.verdict("t", []byte("a"), at(5), true); v != schema.Send {
		t.Errorf("replayed: %d", v)
	}
	k.update(name{"t", "a"}, func(one *key) { one.returned, one.after = true, at(5) })
	if v := k.verdict("t", []byte("a"), at(4), true); v != schema.Send {
		t.Errorf("before a refused one: %d", v)
	}
	if v := k.verdict("t", []byte("a"), at(6), true); v != schema.Park {
		t.Errorf("behind a refused one: %d", v)
	}
}
