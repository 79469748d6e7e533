package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// A slot that is handled by hand: it is created before the first start, streamed
// without a backfill, not dropped while a relay uses it, and never re-created
// silently.
func TestSlotByHand(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	topic := p.topic(t, "order", 1, nil)
	p.exec(t, "SELECT walpost.publish('order', 'old', 'Before', '{}') FROM generate_series(1, 3)")
	if r := p.cli(t, nil, "slot", "show"); r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, "slot "+p.db.Name+" does not exist, and no relay") {
		t.Errorf("show none: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	r := p.cli(t, nil, "slot", "create")
	if r.code != 0 || !strings.HasPrefix(r.stdout, "created slot "+p.db.Name+" at ") || !strings.Contains(r.stdout, ", in database "+p.db.Name+" at ") || !strings.Contains(r.stderr, "none of the rows that were in walpost.outbox before") {
		t.Errorf("create: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	relay := p.start(t)
	p.exec(t, "SELECT walpost.publish('order', 'new', 'After', '{}')")
	p.settle(t)
	var shown struct {
		Name  string          `json:"slot_name"`
		PID   int             `json:"active_pid"`
		Safe  json.RawMessage `json:"safe_wal_size"`
		State struct {
			Phase string
		} `json:"relay_state"`
	}
	out := p.mustCLI(t, "slot", "show", "--json")
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Name != p.db.Name || shown.PID == 0 || shown.State.Phase != "streaming" || string(shown.Safe) != "null" {
		t.Errorf("show: %v\n%s", err, out)
	}
	if out := p.mustCLI(t, "slot", "show"); !strings.Contains(out, "safe_wal_size        no limit") {
		t.Errorf("show:\n%s", out)
	}
	r = p.cli(t, nil, "slot", "drop", p.db.Name)
	if r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, fmt.Sprintf("is in use: server process %d streams", shown.PID)) {
		t.Errorf("drop in use: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	relay.stop(t)
	if r := p.cli(t, nil, "slot", "drop", "walpost"); r.code != 2 || !strings.Contains(r.stderr, "the configured slot is "+p.db.Name+" and not walpost") {
		t.Errorf("drop another: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}

	forget := "DELETE FROM walpost.relay_state WHERE slot = '" + p.db.Name + "'"
	r = p.cli(t, nil, "slot", "drop", p.db.Name)
	if r.code != 0 || !strings.HasPrefix(r.stdout, "dropped slot "+p.db.Name+", which was at ") || !strings.Contains(r.stdout, ", from database "+p.db.Name+" at ") || !strings.Contains(r.stderr, "ends with exit 1") || !strings.Contains(r.stderr, forget) {
		t.Fatalf("drop: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	for _, args := range [][]string{{"run"}, {"slot", "create"}, {"slot", "show"}, {"slot", "drop", p.db.Name}} {
		if r := p.cli(t, []string{"WALPOST_ADMIN_LISTEN="}, args...); r.code != 1 || !strings.Contains(r.stderr, "walpost has streamed from it") {
			t.Errorf("%v without the slot: exit %d\n%s%s", args, r.code, r.stdout, r.stderr)
		}
	}
	// After the step that drop asks for, all rows are published again.
	p.exec(t, forget)
	relay = p.start(t)
	p.settle(t)
	relay.stop(t)
	var keys []string
	for _, rec := range flat(p.read(t, topic)) {
		keys = append(keys, string(rec.Key))
	}
	if got, want := strings.Join(keys, " "), "new old old old new"; got != want {
		t.Errorf("topic %s has the keys %s, want %s", topic, got, want)
	}
}
