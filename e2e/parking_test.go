package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// With on_bad_event: park, an event that Kafka refuses and the later events of its key wait in walpost.dead_letters, across restarts. All
// other keys flow. Given back, the key's events come in order, and then the key flows again.
func TestParkedKey(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	p.env["WALPOST_OUTBOX_ON_BAD_EVENT"] = "park"
	topic := p.topic(t, "order", 1, map[string]string{"max.message.bytes": "2000"})
	r := p.start(t)
	insert := func(key, kind string, bytes int) {
		t.Helper()
		p.exec(t, fmt.Sprintf(`INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload)
			SELECT 'order', '%s', '%s', jsonb_build_object('a', coalesce(string_agg(md5(i::text), ''), '')) FROM generate_series(1, %d) i`, key, kind, bytes/32))
	}
	arrived := func(want string) {
		t.Helper()
		eventually(t, "arrived: "+want, func() string {
			var got []string
			for _, rec := range flat(p.read(t, topic)) {
				kind := ""
				for _, h := range rec.Headers {
					switch h.Key {
					case "ce_type":
						kind = string(h.Value)
					case "walpost_replay":
						kind += ":" + string(h.Value)
					}
				}
				got = append(got, kind)
			}
			if text := strings.Join(got, " "); text != want {
				return text
			}
			return ""
		})
	}
	states := func(want string) {
		t.Helper()
		eventually(t, "states: "+want, func() string {
			got := ask[string](t, p.conn, "SELECT coalesce(string_agg(type || '=' || state, ' ' ORDER BY position), '') FROM walpost.dead_letters")
			if got != want {
				return got
			}
			return ""
		})
	}
	p.exec(t, "BEGIN")
	insert("a", "a1", 0)
	insert("a", "a2", 4000)
	insert("a", "a3", 0)
	insert("b", "b1", 0)
	p.exec(t, "COMMIT")
	states("a2=head a3=waiting")
	arrived("a1 b1")
	p.settle(t)
	insert("a", "a4", 0)
	insert("b", "b2", 0)
	states("a2=head a3=waiting a4=waiting")
	arrived("a1 b1 b2")

	r.stop(t)
	insert("a", "a5", 0)
	insert("b", "b3", 0)
	r = p.start(t)
	states("a2=head a3=waiting a4=waiting a5=waiting")
	arrived("a1 b1 b2 b3")
	p.settle(t)

	// Given back in vain: it is refused again, and nothing overtakes it.
	p.exec(t, "UPDATE walpost.dead_letters SET state = 'retrying'")
	eventually(t, "refused again", func() string {
		return ask[string](t, p.conn, "SELECT CASE WHEN attempts = 1 THEN '' ELSE 'attempts '||attempts END FROM walpost.dead_letters WHERE type = 'a2'")
	})
	states("a2=head a3=waiting a4=waiting a5=waiting")
	arrived("a1 b1 b2 b3")

	p.alter(t, topic, "max.message.bytes", "1000000")
	p.exec(t, "UPDATE walpost.dead_letters SET state = 'retrying' WHERE type = 'a2'")
	states("a2=released a3=released a4=released a5=released")
	arrived("a1 b1 b2 b3 a2:retry a3:retry a4:retry a5:retry")
	eventually(t, "the key flows", func() string {
		if !strings.Contains(r.output(), "flows again") {
			return "not yet"
		}
		return ""
	})
	insert("a", "a6", 0)
	arrived("a1 b1 b2 b3 a2:retry a3:retry a4:retry a5:retry a6")
	r.stop(t)
}
