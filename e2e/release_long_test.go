package e2e

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"walpost/internal/testenv/long"
)

// 100,000 parked events of 1,000 keys are given back while more events of these and of other keys are committed. All of them are in Kafka
// within a minute, each key in order and each event once, and memory stays within its bound from the first parked event to the last released
// one. TestParkedKey shows the same with one key, and TestMemoryIsBounded the bound without parked events.
func TestFiguresOfReleasedKeys(t *testing.T) {
	long.Alone(t)
	needPeak(t)
	for _, c := range []struct {
		name           string
		value, headers int // random hexadecimal digits
	}{
		{"values of 1 KiB", 1024, 0},
		{"headers of 4 KiB", 32, 4096},
	} {
		t.Run(c.name, func(t *testing.T) { releaseMany(t, c.value, c.headers) })
	}
}

func releaseMany(t *testing.T, value, headerBytes int) {
	const events, keys, late, others = 100_000, 1000, 1000, 500
	const limit = 60 * time.Second
	p := newPipe(t).withSchema(t)
	p.plain = true // the race detector multiplies memory and time
	// So many refusals one after the other would make the topic one that refuses everything: its events would wait for it, and not for a person.
	p.env["WALPOST_OUTBOX_BLOCKED_TOPIC"] = "wait"
	topic := p.topic(t, "order", 6, map[string]string{"max.message.bytes": "20000"})
	r := p.start(t)

	// Event i is of key i % keys. The first event of each key is too large for the topic.
	hex := func(digits string) string {
		return "(SELECT string_agg(md5(random()::text||i||j), '') FROM generate_series(1, (" + digits + ")/32) j)"
	}
	headers := "NULL"
	if headerBytes > 0 {
		headers = "jsonb_build_object('h', " + hex(fmt.Sprint(headerBytes)) + ")"
	}
	const columns = "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload, headers) "
	row := func(key, digits string) string {
		return fmt.Sprintf("SELECT 'order', %s, i::text, to_jsonb(%s), %s", key, hex(digits), headers)
	}
	begin := time.Now()
	p.exec(t, fmt.Sprintf(`DO $$ BEGIN FOR b IN 0 .. %d LOOP
		%s %s FROM generate_series(b * %d, (b + 1) * %[4]d - 1) i;
		COMMIT;
	END LOOP; END $$`, events/keys-1, columns, row(fmt.Sprintf("'k'||i %% %d", keys), fmt.Sprintf("CASE WHEN i < %d THEN 48000 ELSE %d END", keys, value)), keys))
	within(t, 15*time.Minute, "all events are parked", func() string {
		r.mustRun(t)
		if n := ask[int](t, p.conn, "SELECT count(*)::int FROM walpost.dead_letters WHERE state IN ('head', 'waiting')"); n != events {
			return fmt.Sprint(n)
		}
		return ""
	})
	p.settle(t)
	parked := time.Since(begin)
	r.checkPeak(t, "parks many keys")

	p.alter(t, topic, "max.message.bytes", "1000000")
	const total = events + late + others
	var commits sync.WaitGroup
	conn := p.connect(t)
	client := p.client(t)
	begin = time.Now()
	p.exec(t, "UPDATE walpost.dead_letters SET state = 'retrying'")
	commits.Go(func() { // one event of each key, and some of keys that were never parked
		ticks := time.NewTicker(10 * time.Millisecond)
		defer ticks.Stop()
		for i := range late + others {
			key, number := fmt.Sprintf("k%d", i%keys), events+i
			if i >= late {
				key = fmt.Sprintf("other%d", i)
			}
			if _, err := conn.Exec(t.Context(), columns+"VALUES ('order', $1, $2, '1', NULL)", key, fmt.Sprint(number)); err != nil {
				t.Errorf("commit event %d: %v", number, err)
				return
			}
			<-ticks.C
		}
	})
	r.awaitAll(t, p, client, topic, total)
	released := time.Since(begin)
	commits.Wait()
	within(t, 15*time.Minute, "no key is parked", func() string {
		r.mustRun(t)
		if n := r.metrics(t)["walpost_parked_keys"]; n != 0 {
			return fmt.Sprint(n)
		}
		return ""
	})
	flowing := time.Since(begin)
	p.settle(t)
	r.checkPeak(t, "releases them")
	r.stop(t)
	t.Logf("parked %d events of %d keys in %.1f s; published in %.1f s, all keys flowed after %.1f s",
		events, keys, parked.Seconds(), released.Seconds(), flowing.Seconds())
	if released > limit {
		t.Errorf("published after %v, want at most %v", released, limit)
	}
	checkNumbered(t, p, topic, total)
}

// awaitAll waits until a topic has as many records as so many events, which takes minutes.
func (r *relay) awaitAll(t testing.TB, p *pipe, client *kgo.Client, topic string, events int64) {
	t.Helper()
	within(t, 15*time.Minute, "all events are in Kafka", func() string {
		r.mustRun(t)
		if n := p.size(t, client, topic); n != events {
			return fmt.Sprint(n)
		}
		return ""
	})
}

// checkNumbered checks that a topic has the events 0 to total-1, each once, and those of each key in order.
func checkNumbered(t *testing.T, p *pipe, topic string, total int) {
	t.Helper()
	seen := make([]bool, total)
	last := make(map[string]int)
	p.each(t, topic, func(record *kgo.Record) {
		number := -1
		for _, h := range record.Headers { // without a map: there are many
			if h.Key == "ce_type" {
				number, _ = strconv.Atoi(string(h.Value))
			}
		}
		if number < 0 || number >= total || seen[number] {
			t.Fatalf("event %d of %d: out of range or twice", number, total)
		}
		seen[number] = true
		key := string(record.Key)
		if before, found := last[key]; found && before > number {
			t.Fatalf("key %s: event %d comes after event %d", key, number, before)
		}
		last[key] = number
	})
	for number, there := range seen {
		if !there {
			t.Fatalf("event %d is missing", number)
		}
	}
}
