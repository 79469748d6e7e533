package e2e

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// refusal is the expected end of a run: an exit code, and a message that names
// the object, the cause and the cure.
type refusal struct {
	code int
	says []string // parts of the message, in upper or lower case
}

// ended matches the last line of a relay's log.
var ended = regexp.MustCompile(`msg="walpost ends" reason=([a-z_]+) err=[^\n]*\n$`)

// check checks the exit code of a run and its output.
func (want refusal) check(t testing.TB, code int, printed string) {
	t.Helper()
	if code != want.code {
		t.Errorf("exit %d, want %d", code, want.code)
	}
	for _, part := range want.says {
		if !strings.Contains(strings.ToLower(printed), strings.ToLower(part)) {
			t.Errorf("the output has no %q", part)
		}
	}
	if ends := ended.FindStringSubmatch(printed); want.code == 1 && strings.Contains(printed, "walpost ends") && (ends == nil || ends[1] == "unexpected") {
		t.Error("its last line has no reason")
	}
	noTrace(t, printed)
	noSecret(t, printed)
	if t.Failed() {
		t.Logf("exit %d, printed:\n%s", code, printed)
	}
}

// noSecret fails the test if text has one of the passwords of this package.
func noSecret(t testing.TB, text string) {
	t.Helper()
	if strings.Contains(text, "hidden-word") {
		t.Errorf("a secret is printed:\n%s", text)
	}
}

// refuses runs the relay and expects it to end before it has created or changed
// a slot, a state, a publication or a topic.
func (p *pipe) refuses(t *testing.T, want refusal, env ...string) {
	t.Helper()
	objects := func() string {
		return ask[string](t, p.conn, `SELECT coalesce(string_agg(o, ', ' ORDER BY o), '') FROM (SELECT 'slot '||slot_name||' of '||coalesce(plugin, slot_type) FROM pg_replication_slots
			WHERE slot_name = $1 UNION ALL SELECT 'publication '||pubname FROM pg_publication) AS objects (o)`, p.db.Name)
	}
	there, recorded, topics := objects(), p.recorded(t), p.topics(t)
	r := p.launch(t, env...)
	want.check(t, r.exit(t), r.output())
	if now := objects(); now != there {
		t.Errorf("before the run there was %q, and now there is %q", there, now)
	}
	if !strings.HasPrefix(there, "slot ") && !strings.Contains(there, ", slot ") {
		p.untouched(t)
	}
	if now := p.recorded(t); now != recorded {
		t.Errorf("the recorded state was %q, and is %q now", recorded, now)
	}
	if now := p.topics(t); !slices.Equal(now, topics) {
		t.Errorf("the topics were %q, and are %q now", topics, now)
	}
}

// recorded returns the rows of walpost.relay_state, "" if there is no such table.
func (p *pipe) recorded(t testing.TB) string {
	t.Helper()
	if !ask[bool](t, p.conn, "SELECT to_regclass('walpost.relay_state') IS NOT NULL") {
		return ""
	}
	return ask[string](t, p.conn, "SELECT coalesce(string_agg(s::text, ' ' ORDER BY slot), '') FROM walpost.relay_state s")
}

// topics returns the names of the test's topics that exist.
func (p *pipe) topics(t testing.TB) []string {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = nil // all
	res, err := req.RequestWith(t.Context(), p.client(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, topic := range res.Topics {
		if topic.Topic != nil && strings.HasPrefix(*topic.Topic, p.prefix) {
			names = append(names, *topic.Topic)
		}
	}
	slices.Sort(names)
	return names
}

// untouched fails the test if a slot or its state was created.
func (p *pipe) untouched(t *testing.T) {
	t.Helper()
	if n := ask[int](t, p.conn, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1", p.db.Name); n != 0 {
		t.Errorf("slot %s was created", p.db.Name)
	}
	if there := ask[bool](t, p.conn, "SELECT to_regclass('walpost.relay_state') IS NOT NULL"); there {
		if n := ask[int](t, p.conn, "SELECT count(*) FROM walpost.relay_state"); n != 0 {
			t.Error("a row of walpost.relay_state was created")
		}
	}
}
