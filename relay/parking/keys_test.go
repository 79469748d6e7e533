package parking

import (
	"fmt"
	"testing"

	"walpost/internal/reason"
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
	k.settled = settledAt(false, 7) // it has a dead letter
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

// A key flows only in its last step, and only if no event of it is on its way to the table.
func TestFlow(t *testing.T) {
	k := newKeys()
	first := head("a", 5)
	k.hold(first)
	n := name{"t", "a"}
	flow := func(kept int) bool {
		step, _ := k.last(n)
		letters, flows := k.flow(n, step, func(letters []*schema.DeadLetter) bool { return len(letters) == kept })
		return flows && len(letters) == kept
	}
	if flow(0) {
		t.Error("it flows before its last step")
	}
	k.keep(n, nil)
	if flow(0) {
		t.Error("it flows while its first event is pending")
	}
	k.written([]*schema.DeadLetter{first})
	later := &schema.DeadLetter{Topic: "t", Key: []byte("a"), At: at(6)}
	k.verdict("t", later.Key, later.At, false)
	if flow(0) {
		t.Error("it flows while a later event is on its way")
	}
	if _, kept, _ := k.hold(later); !kept {
		t.Error("the later event goes to the table")
	}
	if flow(0) {
		t.Error("it flows without the event that is kept")
	}
	if _, letters := k.last(n); len(letters) != 1 || !flow(1) || k.sifting.Load() || k.verdict("t", later.Key, at(9), false) != schema.Send {
		t.Error("it does not flow")
	}
}

// A last step ends when an event of the key is refused, or when too much is kept. What was kept goes to the table first.
func TestLastStepEnds(t *testing.T) {
	for what, bad := range map[string]*schema.DeadLetter{
		"refused": head("a", 8), "too much": {Topic: "t", Key: []byte("a"), At: at(8)},
	} {
		k := newKeys()
		k.hold(head("a", 5))
		k.keep(name{"t", "a"}, nil)
		held := 0 // each cause is enough alone
		if what == "too much" {
			held = mostKept + 1
		}
		later := &schema.DeadLetter{Topic: "t", Key: []byte("a"), At: at(6), Held: held}
		k.hold(later)
		if _, kept, back := k.hold(bad); kept || len(back) != 1 || back[0] != later {
			t.Errorf("%s: kept %v, back %v", what, kept, back)
		}
		if last, _ := k.last(name{"t", "a"}); last != nil {
			t.Errorf("%s: the last step goes on", what)
		}
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

// A last step that is over lets no key flow, even if another one of the key keeps as many letters.
func TestOldLastStep(t *testing.T) {
	k := newKeys()
	n := name{"t", "a"}
	first := head("a", 1)
	k.hold(first)
	k.written([]*schema.DeadLetter{first})
	come := func(p uint64) {
		k.verdict("t", []byte("a"), at(p), false)
		k.hold(&schema.DeadLetter{Topic: "t", Key: []byte("a"), At: at(p)})
	}
	k.keep(n, nil)
	come(2)
	old, _ := k.last(n)
	k.written(k.endLast([]name{n}))
	k.keep(n, nil)
	come(3)
	if _, flows := k.flow(n, old, func([]*schema.DeadLetter) bool { return true }); flows {
		t.Error("the key flows with the letters of an old step")
	}
}

// A released event that is delivered again is not sent again, unless an earlier event of its key is: otherwise that one would be the last in
// the log.
func TestReleasedEventFollowsItsKey(t *testing.T) {
	k := newKeys()
	a := &repeat{highest: at(7)}
	found := settledAt(true, 5, 7)
	found.add(at(6), false)
	k.replace(&table{settled: found, repeats: map[name]*repeat{{"t", "a"}: a}})
	verdict := func(key string, p uint64) schema.Verdict { return k.verdict("t", []byte(key), at(p), false) }
	if verdict("b", 4) != schema.Send || verdict("a", 5) != schema.Settle {
		t.Error("a released event is sent again without need")
	}
	if verdict("a", 4) != schema.Send || verdict("a", 5) != schema.Send || verdict("a", 6) != schema.Settle || verdict("a", 7) != schema.Send {
		t.Error("what was released does not follow, or what was discarded does")
	}
	k.hold(head("a", 3))
	if verdict("a", 5) != schema.Settle {
		t.Error("it is sent although its key is parked")
	}
}

// A refused event that was not parked, because it was accepted when it came again, is forgotten when it cannot come any more.
func TestRefusedIsForgotten(t *testing.T) {
	k := newKeys()
	if !k.refuse(at(5)) || k.refuse(at(5)) {
		t.Error("it does not count once")
	}
	k.forget(func() uint64 { return at(5).LSN })
	if k.refuse(at(5)) {
		t.Error("it counts again although it may be delivered again")
	}
	k.forget(func() uint64 { return at(5).LSN + 1 })
	if len(k.refused) > 0 {
		t.Error("it stays in memory")
	}
}

// An event that has a dead letter is forgotten when Postgres cannot deliver it again, and not before.
func TestForget(t *testing.T) {
	k := newKeys()
	k.replace(&table{settled: settledAt(false, 5, 6)})
	k.forget(func() uint64 { return 6 })
	if k.isSettled(at(5)) || k.verdict("t", nil, at(6), false) != schema.Settle {
		t.Error("event 5 is known still, or event 6 is not any more")
	}
	k.forget(func() uint64 { return 7 })
	if k.sifting.Load() {
		t.Error("it sifts while nothing is known")
	}
}

// A last step keeps what waits in the queue. It does not begin for a key of which an event may be in the table already, or was refused.
func TestKeep(t *testing.T) {
	p := New(Config{})
	var names []name
	for _, key := range []string{"may be there", "refused", "waits"} {
		first := head(key, 1)
		p.keys.hold(first)
		p.keys.written([]*schema.DeadLetter{first})
		names = append(names, nameOf(first))
		p.queue.push(&schema.DeadLetter{Topic: "t", Key: []byte(key), At: at(2), Head: key == "refused"})
	}
	p.queue.picked = 1
	p.keep(names)
	for i, n := range names {
		if step, kept := p.keys.last(n); (step != nil) != (i == 2) || len(kept) != i/2 {
			t.Errorf("key %q: last step %v, kept %v", n.key, step != nil, kept)
		}
	}
	if n := p.queue.len(); n != 2 {
		t.Errorf("%d events go to the table, want 2", n)
	}
}

// A replay that goes on when a session begins stays refused: what is behind the refused event is not sent.
func TestReturnedInTheNextSession(t *testing.T) {
	k := newKeys()
	k.hold(head("a", 5))
	k.update(name{"t", "a"}, func(one *key) { one.returned, one.after = true, at(5) })
	k.replace(&table{parked: map[name]schema.Position{{"t", "a"}: at(5)}})
	if v := k.verdict("t", []byte("a"), at(6), true); v != schema.Park {
		t.Errorf("behind a refused one: %d", v)
	}
}

// When an older event of a key is refused while a replay of the key is on its way, what is behind it in the replay comes back. When the key is
// given back once more, it is sent.
func TestOlderHeadDuringAReplay(t *testing.T) {
	k := newKeys()
	k.hold(head("a", 5))
	k.update(name{"t", "a"}, func(one *key) { one.releasing = true })
	k.hold(head("a", 4))
	if v := k.verdict("t", []byte("a"), at(6), true); v != schema.Park {
		t.Errorf("behind the older event: %d", v)
	}
	if v := k.verdict("t", []byte("a"), at(4), true); v != schema.Send {
		t.Errorf("the older event itself: %d", v)
	}
}

// The log names a key once for each reason.
func TestKeyIsToldOncePerReason(t *testing.T) {
	k := newKeys()
	var told []bool
	for n, code := range []reason.Code{reason.MessageTooLarge, reason.MessageTooLarge, reason.InvalidRecord} {
		one := head("a", uint64(n+1))
		one.Code = code
		tell, _, _ := k.hold(one)
		told = append(told, tell)
	}
	if fmt.Sprint(told) != "[true false true]" {
		t.Errorf("told %v", told)
	}
}
