package sink

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"walpost/schema"
	"walpost/sink/record"
)

// Events go to the template's topic, or to the row's own.
func TestTopicOfAnEvent(t *testing.T) {
	cfg := config(t, nil)
	var err error
	if cfg.Record.Topic, err = schema.ParseTemplate("outbox.{aggregatetype}", schema.DefaultMapping()); err != nil {
		t.Fatal(err)
	}
	p, _ := offline(t, cfg, newLedger())
	for _, test := range []struct{ column, want string }{{"-", "outbox.orders"}, {"other", "other"}, {"A-Z_0.9", "A-Z_0.9"}, {strings.Repeat("x", 249), strings.Repeat("x", 249)}} {
		ev := event("orders", "k", 1)
		if test.column != "-" {
			ev.Values[schema.Topic] = []byte(test.column)
		}
		publish(t, p, ev, 1)
		if p.last.name != test.want {
			t.Errorf("column %s: topic %s", test.column, p.last.name)
		}
	}
}

func TestEventsThatGoNowhere(t *testing.T) {
	cfg := config(t, nil)
	p, c := offline(t, cfg, newLedger())
	c.create("orders", 3)
	publish(t, p, event("orders", "k", 0), 1)
	p.Flush(false)
	p.placed(t, "orders")
	column := func(c schema.Column, v string) func(*schema.Event) {
		return func(ev *schema.Event) { ev.Values[c] = []byte(v) }
	}
	null := func(c schema.Column) func(*schema.Event) { return func(ev *schema.Event) { ev.Values[c] = nil } }
	for _, test := range []struct {
		name  string
		spoil func(*schema.Event)
		says  string
	}{
		{"no id", null(schema.ID), "event without id, type OrderPlaced, topic orders, key k, at 00000001-0000000000000008-00000000: its id is NULL; correct the code that writes such rows"},
		{"no aggregatetype", null(schema.AggregateType), `event 00000007, type OrderPlaced, key k, at 00000001-0000000000000008-00000000: topic template "{aggregatetype}": column aggregatetype is NULL; change outbox.topic, or correct the code that writes such rows`},
		{"empty topic", column(schema.Topic, ""), "1 to 249 characters"},
		{"dot", column(schema.Topic, "."), "topic .,"},
		{"two dots", column(schema.Topic, ".."), "correct the code that fills the column topic"},
		{"space", column(schema.Topic, "a b"), `topic "a b"`},
		{"slash", column(schema.Topic, "a/b"), "topic a/b"},
		{"letters beyond ASCII", column(schema.Topic, "заказы"), "topic заказы"},
		{"too long", column(schema.Topic, strings.Repeat("x", 250)), "1 to 249 characters"},
		{"not UTF-8", column(schema.Topic, "a\xffb"), `topic "a\xffb"`},
		{"NUL", column(schema.AggregateType, "a\x00"), `topic "a\x00"`},
		{"headers", column(schema.Headers, "[]"), "column headers: not a JSON object"},
		{"partition", column(schema.Partition, "-1"), "column partition: -1 is not a partition number"},
		{"large", column(schema.Payload, string(make([]byte, maxRecord))), " bytes, and walpost sends none that is larger than 100 MB; publish a reference instead of the content"},
	} {
		ev := event("orders", "k", 7)
		test.spoil(ev)
		n, err := p.Publish(ev, 2)
		var bad *record.BadEvent
		if n != 0 || !errors.As(err, &bad) || !strings.Contains(err.Error(), test.says) || strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 1000 {
			t.Errorf("%s: %d, %v; want %s", test.name, n, err, test.says)
		}
		if curable := test.name == "no aggregatetype" || test.name == "NUL"; bad != nil && bad.Incurable() == curable { // outbox.topic
			t.Errorf("%s: incurable is %v", test.name, bad.Incurable())
		}
		if test.name == "large" && (bad.Code != "message_too_large" || strings.Contains(err.Error(), "server")) { // no server has seen it
			t.Errorf("%s: reason %s", test.name, bad.Code)
		} else if test.name != "large" && bad.Code != "invalid_event" {
			t.Errorf("%s: reason %s", test.name, bad.Code)
		}
	}
	if n, _ := sample(t, cfg, "walpost_events_failed_total", "orders", "invalid_event"); n != 3 {
		t.Errorf("%v events of topic orders counted as failed, want 3", n)
	}
	if _, n := sample(t, cfg, "walpost_events_failed_total"); n > 15 {
		t.Errorf("%d series", n)
	}
	// The sink keeps nothing of a bad event.
	publish(t, p, event("orders", "k", 8), 3)
	p.Flush(false)
	if got := idsOf(slices.Concat(p.takeQueued("orders")...)); fmt.Sprint(got) != "[00000000 00000008]" {
		t.Errorf("the lanes hold %v", got)
	}
}

// Events that come before the partitions are known go to the same partitions as those that come after, in order.
func TestEventsWaitForTheirTopic(t *testing.T) {
	acks := newLedger()
	cfg := config(t, nil)
	cfg.MaxRequestSize = 700
	p, c := offline(t, cfg, acks)
	p.confirmFewer = 20 * time.Millisecond
	r := rand.New(rand.NewPCG(3, 4))
	want := make([][]string, 5)
	var ids []string
	late, held := 0, 0
	one := func(i int) {
		ev := event("orders", fmt.Sprintf("k-%d", r.IntN(10)), i)
		n := record.Murmur2.Partition(ev.Values[schema.AggregateID], 5)
		switch r.IntN(4) {
		case 0:
			ev.Values[schema.AggregateID] = nil
			n = record.Murmur2.Partition(ev.Values[schema.ID], 5)
		case 1:
			n = r.Int32N(5)
			ev.Values[schema.Partition] = fmt.Append(nil, n)
		}
		if i == 77 {
			ev.Values[schema.Partition] = []byte("5")       // known to be too high only later
			ev.Values[schema.AggregateID] = []byte("alone") // later events of its key would wait behind it
		} else {
			want[n] = append(want[n], string(ev.Values[schema.ID]))
			ids = append(ids, string(ev.Values[schema.ID]))
		}
		held += publish(t, p, ev, uint64(i/7))
		late++
	}
	i := 0
	for ; i < 100; i++ {
		if one(i); i%13 == 0 {
			p.Flush(false)
		}
	}
	// The partitions become known while a pass is being published. The rest of the pass waits too, or it would overtake earlier events.
	c.create("orders", 5)
	p.placed(t, "orders")
	for ; i < 110; i++ {
		one(i)
	}
	p.Flush(false)
	for ; i < 200; i++ {
		if one(i); i%13 == 0 {
			p.Flush(false)
		}
	}
	p.Flush(false)
	acks.wait(t, 0, 1)
	if err := acks.rejected[77/7]; err == nil || !strings.Contains(err.Error(), "event 00000077, type OrderPlaced, topic orders") ||
		!strings.Contains(err.Error(), "no partition 5, only 0 to 4; add partitions") {
		t.Errorf("rejected: %v", acks.rejected)
	}
	batches := p.takeQueued("orders")
	for n := range want {
		if got := idsOf(batches[n]); !slices.Equal(got, want[n]) {
			t.Errorf("partition %d has %v, want %v", n, got, want[n])
		}
	}
	if got := idsOf(slices.Concat(batches...)); len(got) != len(ids) {
		t.Errorf("%d events in the lanes, want %d", len(got), len(ids))
	}
	sum := 0
	for _, b := range slices.Concat(batches...) {
		sum += b.Held()
		if b.Len() > cfg.MaxRequestSize {
			t.Errorf("a batch of %d bytes", b.Len())
		}
	}
	if rejected := held - sum; rejected < 200 || rejected > 900 { // one event's, and perhaps what a batch takes beside its records
		t.Errorf("%d bytes held of %d published", sum, held)
	}
}

// A reserved name is logged once, and counted each time.
func TestReservedHeadersAreWarnedOfOnce(t *testing.T) {
	var log logLines
	cfg := config(t, nil)
	cfg.Logger = log.logger()
	p, _ := offline(t, cfg, newLedger())
	for i := range 10 {
		ev := event("orders", "k", i)
		ev.Values[schema.Headers] = []byte(`{"id": "x", "ce_type": "y", "a": "z"}`)
		publish(t, p, ev, 1)
	}
	if n, _ := sample(t, cfg, "walpost_reserved_headers_total"); n != 20 {
		t.Errorf("%v counted", n)
	}
	warnings := 0
	for _, line := range log.all() {
		if strings.Contains(line, "reserved") {
			warnings++
		}
	}
	if warnings != 2 {
		t.Errorf("%d warnings: %v", warnings, log.all())
	}
}

// Publishing allocates nothing of its own: batches come from the pool, or grow.
func TestPublishAllocatesLittle(t *testing.T) {
	p, c := offline(t, config(t, nil), newLedger())
	c.create("orders", 6)
	publish(t, p, event("orders", "k", 0), 1)
	p.Flush(false)
	p.placed(t, "orders")
	c.freeze() // the search for leaders in the background allocates, too
	events := make([]*schema.Event, 10_000)
	for i := range events {
		events[i] = event("orders", fmt.Sprint(i%100), i)
	}
	n := testing.AllocsPerRun(1, func() {
		for i, ev := range events {
			publish(t, p, ev, uint64(i/10))
			if i%100 == 0 {
				p.Flush(false)
			}
		}
	})
	if per := n / float64(len(events)); per > 0.05 {
		t.Errorf("%.3f allocations per event", per)
	}
}

// The dead letter of an event that can never be a record says why, and what helps. No broker has refused it. That it is given back changes
// nothing.
func TestDetailOfARowThatIsNoRecord(t *testing.T) {
	acks := newParkingLedger()
	p, c := offline(t, config(t, nil), acks)
	c.create("orders", 1)
	for i, spoil := range []func(*schema.Event){
		func(ev *schema.Event) { ev.Values[schema.Payload] = make([]byte, maxRecord) },
		func(ev *schema.Event) { ev.Values[schema.Headers] = []byte("[]") },
		func(ev *schema.Event) { ev.Values[schema.Topic] = []byte("a b") },
		func(ev *schema.Event) { ev.Values[schema.AggregateType] = []byte("a b") }, // outbox.topic may be the cause
	} {
		ev := event("orders", "k", i)
		spoil(ev)
		publish(t, p, ev, uint64(i))
	}
	p.Flush(false)
	acks.wait(t, 4, 0)
	const again = "; a retry cannot help: discard the event, and "
	want := []string{
		"its record has 100000238 bytes, and walpost sends none that is larger than 100 MB" + again + "publish a reference instead of the content",
		"column headers: not a JSON object" + again + "correct the code that writes such rows",
		"a topic name has 1 to 249 characters, each a letter, a digit, a dot, _ or -, and is neither . nor .. itself" + again + "correct the code that fills the column topic",
		"a topic name has 1 to 249 characters, each a letter, a digit, a dot, _ or -, and is neither . nor .. itself",
	}
	details := func(letters []*schema.DeadLetter) (list []string) {
		for _, l := range letters {
			list = append(list, l.Detail)
		}
		return list
	}
	if got := details(acks.letters); !slices.Equal(got, want) {
		t.Errorf("details\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	p.Replay(acks.letters, false)
	if got := details(acks.letters[4:]); !slices.Equal(got, make([]string, 4)) { // their rows keep what they say
		t.Errorf("given back: %q", got)
	}
}
