package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Rows of walpost.dead_letters that somebody edited hold back their own keys, say what is wrong, and stop neither the relay nor other keys,
// also across a restart. Repaired or discarded, they let their keys flow.
func TestEditedDeadLetters(t *testing.T) {
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
	// Of each key the first event is too large, and the second one waits.
	edits := []struct{ key, set, end, detail string }{
		{"good", "note = 'as it was'", "released released", ""},
		{"topic", "topic = NULL", "head released", "a topic name has 1 to 249 characters"}, // it is of another topic now
		{"headers", "header_names = header_names || 'one more'::bytea", "head waiting", " header_values"},
		{"position", "position = position || 'h'", "head waiting", "message"},
		{"state", "state = 'lost'", "released released", ""}, // it was repaired, and given back
		{"value", "value = NULL", "released released", ""},
		{"nokey", "key = NULL", "released released", ""}, // it has no key now, so nothing waits behind it
		{"timestamp", "record_timestamp = 'infinity'", "head waiting", "message"},
		{"attempts", "attempts = 2147483647", "released released", ""},
		{"absent", "partition = 99", "head waiting", "partition"},
		{"negative", "partition = -7", "released released", ""},
		{"highest", "partition = 2147483647", "head waiting", "partition"},
	}
	for _, e := range edits {
		insert(e.key, e.key+"1", 4000)
		insert(e.key, e.key+"2", 0)
	}
	state := func(key string) string {
		return ask[string](t, p.conn, "SELECT coalesce(string_agg(state, ' ' ORDER BY id), 'none') FROM walpost.dead_letters WHERE type IN ($1 || '1', $1 || '2')", key)
	}
	for _, e := range edits {
		eventually(t, e.key+" is parked", func() string {
			if got := state(e.key); got != "head waiting" {
				return got
			}
			return ""
		})
	}
	eventually(t, "status says since when", func() string {
		var s struct {
			DeadLetters struct {
				Events int
				Oldest *string
			} `json:"dead_letters"`
		}
		out := p.cli(t, nil, "status", "--json", "--address", r.Admin)
		if err := json.Unmarshal([]byte(out.stdout), &s); err != nil || s.DeadLetters.Events != 2*len(edits) || s.DeadLetters.Oldest == nil {
			return out.stdout + out.stderr
		}
		return ""
	})
	p.alter(t, topic, "max.message.bytes", "1000000")
	p.exec(t, "ALTER TABLE walpost.dead_letters DROP CONSTRAINT dead_letters_state_check")
	for _, e := range edits {
		p.exec(t, "UPDATE walpost.dead_letters SET "+e.set+" WHERE type = '"+e.key+"1'")
	}
	eventually(t, "the state is repaired", func() string {
		if got := state("state"); got != "head waiting" {
			return got
		}
		return ""
	})
	r.stop(t)
	r = p.start(t) // its session reads all of these rows

	// Two people at once.
	var both sync.WaitGroup
	results := make([]result, 2)
	for i := range results {
		both.Go(func() { results[i] = p.cli(t, nil, "dead-letter", "retry", "--all") })
	}
	both.Wait()
	unplaced := ask[string](t, p.conn, "SELECT id::text FROM walpost.dead_letters WHERE type = 'position1'")
	for _, got := range results {
		if got.code != 1 || !strings.Contains(got.stderr, "dead letters "+unplaced+" have a position that cannot be read") {
			t.Errorf("retry --all: exit %d\n%s%s", got.code, got.stdout, got.stderr)
		}
	}
	if n := strings.Count(results[0].stdout+results[1].stdout, "given back: "); n != 1 {
		t.Errorf("%d of two people gave events back:\n%s\n%s", n, results[0].stdout, results[1].stdout)
	}
	for _, e := range edits {
		eventually(t, e.key+": "+e.end, func() string {
			if got := state(e.key); got != e.end {
				return got
			}
			return ""
		})
		if got := ask[string](t, p.conn, "SELECT coalesce(detail, '') FROM walpost.dead_letters WHERE type = $1", e.key+"1"); !strings.Contains(strings.ToLower(got), e.detail) {
			t.Errorf("%s: the row says %q, want %q", e.key, got, e.detail)
		}
	}
	// Other keys and those that were released flow. Those of broken rows wait.
	for _, key := range []string{"free", "good", "headers", "position"} {
		insert(key, key+"3", 0)
	}
	p.settle(t)

	// A person ends the rest: one row is repaired, the others are given up.
	p.exec(t, "UPDATE walpost.dead_letters SET header_names = header_names[:cardinality(header_values)] WHERE type = 'headers1'")
	p.mustCLI(t, "dead-letter", "retry", "--key", "headers")
	p.mustCLI(t, "dead-letter", "discard", "--state", "head", "--note", "broken by hand")
	p.mustCLI(t, "dead-letter", "retry", "--all")
	eventually(t, "nothing is parked", func() string {
		return ask[string](t, p.conn, "SELECT coalesce(string_agg(type || '=' || state, ' ' ORDER BY id), '') FROM walpost.dead_letters WHERE state NOT IN ('released', 'discarded')")
	})
	p.settle(t)
	var got []string
	for _, rec := range flat(p.read(t, topic)) {
		for _, h := range rec.Headers {
			if h.Key == "ce_type" {
				got = append(got, string(h.Value))
			}
		}
	}
	for key, want := range map[string]string{
		"good": "good1 good2 good3", "free": "free3", "headers": "headers1 headers2 headers3", "position": "position2 position3", "state": "state1 state2", "value": "value1 value2", "topic": "topic2",
		"timestamp": "timestamp2", "attempts": "attempts1 attempts2", "absent": "absent2", "negative": "negative1 negative2", "highest": "highest2",
	} {
		var ofKey []string
		for _, kind := range got {
			if kind[:len(kind)-1] == key {
				ofKey = append(ofKey, kind)
			}
		}
		if text := strings.Join(ofKey, " "); text != want {
			t.Errorf("key %s: %s, want %s", key, text, want)
		}
	}
	if !slices.Contains(got, "nokey1") || !slices.Contains(got, "nokey2") {
		t.Errorf("an event that lost its key, or the one behind it, is not in %s", got)
	}
	r.stop(t)
}
