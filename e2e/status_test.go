package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"walpost/internal/testenv/child"
)

// status is the part of `walpost status --json` and /api/status that programs
// read.
type status struct {
	Version string
	Role    string
	Ready   bool
	Reason  string
	Since   *time.Time
	Slot    struct {
		Name              string
		Active            bool
		WALStatus         string `json:"wal_status"`
		RetainedBytes     int64  `json:"retained_bytes"`
		SafeBytes         *int64 `json:"safe_bytes"`
		ConfirmedLSN      string `json:"confirmed_lsn"`
		ConfirmedLagBytes *int64 `json:"confirmed_lag_bytes"`
	}
	LagSeconds      *float64            `json:"lag_seconds"`
	EventsPerSecond *map[string]float64 `json:"events_per_second"`
	InFlight        *map[string]int64   `json:"in_flight"`
	Events          *map[string]int64
	LastEvent       *time.Time `json:"last_event"`
	LastAck         *time.Time `json:"last_ack"`
	LastConfirm     *time.Time `json:"last_confirm"`
	BlockedTopics   []struct {
		Topic   string
		Seconds float64
	} `json:"blocked_topics"`
}

// status runs the command. It has to agree with /api/status on everything that
// does not change.
func (p *pipe) status(t testing.TB, r *relay, code int) status {
	t.Helper()
	out := p.cli(t, nil, "status", "--json", "--address", r.Admin)
	var s status
	if err := json.Unmarshal([]byte(out.stdout), &s); err != nil || out.code != code || out.stderr != "" {
		t.Fatalf("status: exit %d, want %d, %v\n%s%s", out.code, code, err, out.stdout, out.stderr)
	}
	return s
}

// The status of a relay in several states.
func TestStatus(t *testing.T) {
	t.Parallel() // mostly waiting
	p := newPipe(t).withSchema(t)
	topic := p.topic(t, "order", 3, nil)
	r := p.start(t)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) SELECT 'order', 'x' FROM generate_series(1, 500)")
	p.settle(t)
	var s status
	eventually(t, "the slot is looked at, and the events are counted", func() string {
		if s = p.status(t, r, 0); s.Slot.WALStatus == "" || s.Events == nil || (*s.Events)["published"] != 500 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	if s.Role != "leader" || !s.Ready || s.Version == "" || s.Since == nil || s.Slot.Name != p.db.Name || !s.Slot.Active || s.Slot.WALStatus != "reserved" ||
		s.Slot.ConfirmedLSN == "" || s.Slot.ConfirmedLagBytes == nil || *s.LagSeconds != 0 || (*s.InFlight)["limit_bytes"] != 32<<20 || (*s.InFlight)["events"] != 0 ||
		(*s.Events)["received"] != 500 || s.LastEvent == nil || s.LastAck == nil || s.LastConfirm == nil || len(s.BlockedTopics) != 0 {
		t.Errorf("a leader: %+v", s)
	}
	if rate := (*s.EventsPerSecond)["last_1m"]; rate <= 0 {
		t.Errorf("throughput: %v", rate)
	}
	if code, body, err := r.get("/api/status"); err != nil || code != http.StatusOK || !strings.HasPrefix(body, `{"version":"`) {
		t.Errorf("/api/status: %d %v\n%s", code, err, body)
	}
	screen := p.mustCLI(t, "status", "--address", r.Admin)
	for _, part := range []string{"relay        leader for ", "slot         " + p.db.Name + ": wal_status reserved", "events       500 received from the slot, 500 published"} {
		if !strings.Contains(screen, part) {
			t.Errorf("no %q in\n%s", part, screen)
		}
	}

	// A second relay of the slot stands by, and its status is good.
	standby := p.launch(t)
	standby.awaitReady(t, "standby")
	if s := p.status(t, standby, 0); s.Role != "standby" || s.Reason == "" {
		t.Errorf("a standby: %+v", s)
	}
	standby.stop(t)

	// Status names a missing topic, and a relay that is not ready is not well.
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('absent', 'waits')")
	r.awaitUnready(t, "")
	s = p.status(t, r, 3)
	if s.Ready || s.Reason == "" || len(s.BlockedTopics) != 1 || s.BlockedTopics[0].Topic != p.prefix+".absent" || *s.LagSeconds < 5 || (*s.InFlight)["events"] != 1 {
		t.Errorf("a blocked topic: %+v", s)
	}
	p.topic(t, "absent", 1, nil)
	p.settle(t)

	// If no relay answers at the address, status asks Postgres: first a relay
	// runs elsewhere, and then none does.
	port, err := child.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	nobody := child.Address(port)
	out := p.cli(t, nil, "status", "--address", nobody)
	if out.code != 1 || !strings.Contains(out.stdout, "no relay answers at "+nobody) || !strings.Contains(out.stdout, "a relay runs elsewhere: server process ") ||
		!strings.Contains(out.stdout, "recorded     streaming") {
		t.Errorf("elsewhere: exit %d\n%s%s", out.code, out.stdout, out.stderr)
	}
	r.stop(t)
	out = p.cli(t, nil, "status", "--address", nobody)
	if out.code != 3 || strings.Contains(out.stdout, "elsewhere") || !strings.Contains(out.stdout, "nobody streams from it") {
		t.Errorf("none: exit %d\n%s%s", out.code, out.stdout, out.stderr)
	}
	if got := len(flat(p.read(t, topic))); got != 500 {
		t.Errorf("topic %s has %d records", topic, got)
	}
}
