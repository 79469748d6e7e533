package record

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"walpost/schema"
	"walpost/sink/internal/sinktest"
	"walpost/sink/recordbatch"
)

const micros = int64(time.Second / time.Microsecond)

func testComposer(reserved func(string)) *Composer {
	return &Composer{source: []byte("/walpost/shop/walpost.outbox"), now: sinktest.Noon, reserved: reserved}
}

func compose(t *testing.T, c *Composer, ev *schema.Event) *recordbatch.Record {
	t.Helper()
	rec, err := c.Compose(ev)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func TestRecordOfAnEvent(t *testing.T) {
	ev := sinktest.Row()
	ev.Values[schema.Headers] = []byte(`{"traceparent":"00-1-2-01","tenant":"t","gone":null}`)
	rec := compose(t, testComposer(nil), ev)
	want := []string{
		"id=0b51f0a0-9d6c-4b7e-9d5a-000000000001",
		"ce_specversion=1.0",
		"ce_id=0b51f0a0-9d6c-4b7e-9d5a-000000000001",
		"ce_source=/walpost/shop/walpost.outbox",
		"ce_type=OrderPlaced",
		"ce_subject=order-1",
		"ce_time=2030-03-01T11:59:58.123456Z",
		"ce_sequence=000000AB-00000001000000FF-00000003",
		"traceparent=00-1-2-01",
		"tenant=t",
		"gone",
		"content-type=application/json",
	}
	if got := sinktest.HeaderLines(rec); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("headers\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if string(rec.Key) != "order-1" || string(rec.Value) != `{"n":1}` {
		t.Errorf("key %q, value %q", rec.Key, rec.Value)
	}
}

// header returns the value of a record's header: "absent", "null", or the value.
func header(rec *recordbatch.Record, name string) string {
	for _, h := range rec.Headers {
		if h.Text() == name {
			if h.Value == nil {
				return "null"
			}
			return string(h.Value)
		}
	}
	return "absent"
}

func TestKeyValueAndWhatFollowsFromThem(t *testing.T) {
	for _, test := range []struct {
		name                       string
		key, value                 []byte
		content                    schema.Content
		headers                    string
		subject, contentType, null string
	}{
		{"json", []byte("k"), []byte("{}"), schema.JSON, "", "k", "application/json", ""},
		{"text", []byte("k"), []byte("x"), schema.Text, "", "k", "text/plain", ""},
		{"bytea", []byte("k"), []byte{0}, schema.Bytes, "", "k", "application/octet-stream", ""},
		{"empty payload", []byte("k"), []byte{}, schema.Text, "", "k", "text/plain", ""},
		{"tombstone", []byte("k"), nil, schema.JSON, "", "k", "absent", "value"},
		{"empty key", []byte{}, []byte("{}"), schema.JSON, "", "", "application/json", ""},
		{"NULL key", nil, []byte("{}"), schema.JSON, "", "absent", "application/json", "key"},
		{"content-type of its own", []byte("k"), []byte("{}"), schema.JSON, `{"content-type":"application/avro"}`, "k", "application/avro", ""},
		{"content-type null", []byte("k"), []byte("{}"), schema.JSON, `{"content-type":null}`, "k", "null", ""},
		{"content-type of a tombstone", []byte("k"), nil, schema.JSON, `{"content-type":"x/y"}`, "k", "x/y", "value"},
		{"content-type in other letters", []byte("k"), []byte("{}"), schema.JSON, `{"Content-Type":"x/y"}`, "k", "application/json", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			ev := sinktest.Row()
			ev.Content = test.content
			ev.Values[schema.AggregateID], ev.Values[schema.Payload] = test.key, test.value
			if test.headers != "" {
				ev.Values[schema.Headers] = []byte(test.headers)
			}
			rec := compose(t, testComposer(nil), ev)
			if got := header(rec, "ce_subject"); got != test.subject {
				t.Errorf("ce_subject %s, want %s", got, test.subject)
			}
			if got := header(rec, "content-type"); got != test.contentType {
				t.Errorf("content-type %s, want %s", got, test.contentType)
			}
			if n := strings.Count(strings.Join(sinktest.HeaderLines(rec), "\n"), "content-type"); n > 1 {
				t.Errorf("%d content-types", n)
			}
			if (rec.Key == nil) != (test.null == "key") || (rec.Value == nil) != (test.null == "value") {
				t.Errorf("key null: %t, value null: %t", rec.Key == nil, rec.Value == nil)
			}
		})
	}
}

func TestEmptyTypeIsTheAggregatetype(t *testing.T) {
	for _, typ := range [][]byte{nil, {}} {
		ev := sinktest.Row()
		ev.Values[schema.Type] = typ
		if got := header(compose(t, testComposer(nil), ev), "ce_type"); got != "orders" {
			t.Errorf("type %q (null: %t): ce_type %s", typ, typ == nil, got)
		}
	}
}

func TestRowsThatAreNoEvent(t *testing.T) {
	for name, test := range map[string]struct {
		column schema.Column
		value  []byte
		want   error
	}{
		"no id":      {schema.ID, nil, errNoID},
		"empty id":   {schema.ID, []byte{}, errEmptyID},
		"no type":    {schema.AggregateType, nil, errNoType},
		"no object":  {schema.Headers, []byte(`[1]`), errNoObject},
		"no JSON":    {schema.Headers, []byte(`{"a":1} x`), errNoJSON},
		"empty text": {schema.Headers, []byte{}, errNoJSON},
	} {
		c, ev := testComposer(nil), sinktest.Row()
		ev.Values[schema.Type] = nil
		ev.Values[test.column] = test.value
		if rec, err := c.Compose(ev); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, %v", name, rec, err)
		}
		// The composer continues with the next row as if nothing had happened.
		if got := sinktest.HeaderLines(compose(t, c, sinktest.Row())); len(got) != 9 || got[0] != "id=0b51f0a0-9d6c-4b7e-9d5a-000000000001" {
			t.Errorf("%s: the next row has the headers %q", name, got)
		}
	}
}

func TestTimes(t *testing.T) {
	at := func(s string) int64 {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v.UnixMicro()
	}
	now := sinktest.Noon.UnixMicro()
	for _, test := range []struct {
		name                       string
		created, timestamp, commit int64
		ceTime                     string
		record                     int64 // ms
	}{
		{"all there", at("2029-12-31T23:59:59.999999Z"), at("2028-01-01T00:00:00.0019Z"), now - 1, "2029-12-31T23:59:59.999999Z", at("2028-01-01T00:00:00.001Z") / 1000},
		{"no timestamp column", at("2029-12-31T23:59:59Z"), schema.NoTime, at("2030-01-01T00:00:00.5Z"), "2029-12-31T23:59:59.000000Z", at("2030-01-01T00:00:00.5Z") / 1000},
		{"no created_at", schema.NoTime, schema.NoTime, at("2030-01-01T00:00:00.5Z"), "2030-01-01T00:00:00.500000Z", at("2030-01-01T00:00:00.5Z") / 1000},
		{"created before 1970", at("1969-12-31T23:59:59.999999Z"), schema.NoTime, now, "1969-12-31T23:59:59.999999Z", now / 1000},
		{"created in year 1", at("0001-01-01T00:00:00Z"), schema.NoTime, now, "0001-01-01T00:00:00.000000Z", now / 1000},
		{"created in year 9999", at("9999-12-31T23:59:59.999999Z"), schema.NoTime, now, "9999-12-31T23:59:59.999999Z", now / 1000},
		{"leap day", at("2000-02-29T00:00:00Z"), schema.NoTime, now, "2000-02-29T00:00:00.000000Z", now / 1000},
		{"timestamp before 1970", now, at("1969-12-31T23:59:59.9Z"), now, sinktest.Noon.Format("2006-01-02T15:04:05.000000Z"), 0},
		{"timestamp long before 1970", now, at("0001-01-01T00:00:00Z"), now, sinktest.Noon.Format("2006-01-02T15:04:05.000000Z"), 0},
		{"timestamp at 1970", now, 0, now, sinktest.Noon.Format("2006-01-02T15:04:05.000000Z"), 0},
	} {
		ev := sinktest.Row()
		ev.CreatedAt, ev.Timestamp, ev.CommitTime = test.created, test.timestamp, test.commit
		rec := compose(t, testComposer(nil), ev)
		if got := header(rec, "ce_time"); got != test.ceTime || rec.Timestamp != test.record {
			t.Errorf("%s: ce_time %s, timestamp %d; want %s, %d", test.name, got, rec.Timestamp, test.ceTime, test.record)
		}
	}
}

// Brokers refuse records that are more than an hour ahead of their clock. So no record is ahead of our clock. Backfilled rows have no
// commit time.
func TestTimestampIsNeverAheadOfNow(t *testing.T) {
	for name, ev := range map[string]*schema.Event{
		"far future":       {Timestamp: math.MaxInt64, CommitTime: 0, CreatedAt: 0},
		"commit in future": {Timestamp: schema.NoTime, CommitTime: time.Now().Add(time.Hour).UnixMicro(), CreatedAt: 0},
		"backfilled":       {Timestamp: schema.NoTime, CommitTime: schema.NoTime, CreatedAt: schema.NoTime},
	} {
		full := sinktest.Row()
		ev.Values = full.Values
		c := testComposer(nil)
		before := time.Now()
		c.now = before.Add(-time.Hour) // a read pass long ago
		rec := compose(t, c, ev)
		if after := time.Now(); rec.Timestamp < before.UnixMilli() || rec.Timestamp > after.UnixMilli() {
			t.Errorf("%s: timestamp %d, the clock went from %d to %d", name, rec.Timestamp, before.UnixMilli(), after.UnixMilli())
		}
		if name != "backfilled" {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, header(rec, "ce_time"))
		if err != nil || at.Before(before.Truncate(time.Microsecond)) {
			t.Errorf("%s: ce_time %v, %v", name, at, err)
		}
	}
}

// An event that has just been committed gets the time of its commit, although the pass began before it.
func TestTimestampOfAFreshCommit(t *testing.T) {
	c, ev := testComposer(nil), sinktest.Row()
	ev.CommitTime = time.Now().UnixMicro()
	c.now = time.Now().Add(-time.Minute)
	if rec := compose(t, c, ev); rec.Timestamp != ev.CommitTime/1000 {
		t.Errorf("timestamp %d, want %d", rec.Timestamp, ev.CommitTime/1000)
	}
}

// Static headers come with every record, in the order of their names; a pair of the same name in the row's headers column wins, whatever
// its value.
func TestStaticHeaders(t *testing.T) {
	static := map[string]string{"tenant": "eu", "region": "", "content-type": "application/avro"}
	for _, test := range []struct {
		headers string
		want    string
	}{
		{"", "content-type=application/avro region= tenant=eu"},
		{`{}`, "content-type=application/avro region= tenant=eu"},
		{`{"tenant":"us","a":"1"}`, "tenant=us a=1 content-type=application/avro region="},
		{`{"region":null,"content-type":"x/y"}`, "region content-type=x/y tenant=eu"},
		{`{"Tenant":"us","ce_type":"x","tenan":"t"}`, "Tenant=us tenan=t content-type=application/avro region= tenant=eu"},
	} {
		c := NewComposer(Config{Profile: Debezium, Static: static}, func(string) {})
		ev := sinktest.Row()
		if test.headers != "" {
			ev.Values[schema.Headers] = []byte(test.headers)
		}
		for range 2 { // the composer keeps nothing of a row
			lines := sinktest.HeaderLines(compose(t, c, ev))
			if got := strings.Join(lines[1:], " "); lines[0] != "id=0b51f0a0-9d6c-4b7e-9d5a-000000000001" || got != test.want {
				t.Errorf("%s: %s, want %s behind the id", test.headers, got, test.want)
			}
		}
	}
	// Static headers come between those of the row and those that walpost adds last.
	c := NewComposer(Config{Static: map[string]string{"tenant": "eu"}}, nil)
	if got := sinktest.HeaderLines(compose(t, c, sinktest.Row())); strings.Join(got[8:], " ") != "tenant=eu content-type=application/json" {
		t.Errorf("a CloudEvent ends with %q", got[8:])
	}
	ev := sinktest.Row()
	ev.Values[schema.Payload] = nil
	if got := sinktest.HeaderLines(compose(t, c, ev)); got[len(got)-1] != "tenant=eu" {
		t.Errorf("a tombstone ends with %q", got)
	}
}

func TestReservedHeaders(t *testing.T) {
	for name, want := range map[string]bool{
		"id": true, "ce_": true, "ce_type": true, "walpost_": true, "walpost_position": true, "ID": false, "ce": false, "tenant": false, "content-type": false, "": false,
	} {
		if got := Reserved(name); got != want {
			t.Errorf("%q is reserved: %t", name, got)
		}
	}
}

// Composing allocates nothing, for an event without headers of its own and for one with some, and with static headers too.
func TestComposeAllocatesNothing(t *testing.T) {
	c, plain, with := testComposer(nil), sinktest.Row(), sinktest.Row()
	with.Values[schema.Headers] = []byte(`{"traceparent": "00-1-2-01", "tenant": "t"}`)
	static := NewComposer(Config{Static: map[string]string{"region": "de", "tenant": "eu"}}, nil)
	for _, c := range []*Composer{c, static} {
		if n := testing.AllocsPerRun(100, func() {
			for _, ev := range []*schema.Event{plain, with} {
				if _, err := c.Compose(ev); err != nil {
					t.Fatal(err)
				}
			}
		}); n > 0 {
			t.Errorf("%v allocations with %d static headers", n, len(c.static))
		}
	}
}

// The key alone decides where an event goes, unless a column names the partition; without a key it is the id.
func TestEventsOfOneKeyGoToOnePartition(t *testing.T) {
	for _, test := range []struct {
		partition, key string
		want           string
	}{
		{"-", "k", "by k"}, {"-", "", "by "}, {"-", "-", "by id-1"}, {"0", "k", "0"}, {"2147483647", "k", "2147483647"}, {"007", "k", "7"},
		{"-1", "k", "error"}, {"2147483648", "k", "error"}, {"", "k", "error"}, {"x", "k", "error"}, {"1.0", "k", "error"}, {" 1", "k", "error"},
	} {
		ev := &schema.Event{}
		ev.Values[schema.ID] = []byte("id-1")
		if test.key != "-" {
			ev.Values[schema.AggregateID] = []byte(test.key)
		}
		if test.partition != "-" {
			ev.Values[schema.Partition] = []byte(test.partition)
		}
		got := "error"
		if p, err := PlaceOf(ev); err == nil {
			got = fmt.Sprint(p.Partition)
			if p.Partition < 0 {
				got = "by " + string(p.Key)
			}
		} else if !strings.HasPrefix(err.Error(), "column partition: ") {
			t.Errorf("the error does not name the column: %v", err)
		}
		if got != test.want {
			t.Errorf("partition %q, key %q: %s, want %s", test.partition, test.key, got, test.want)
		}
	}
}

// Whichever run of walpost sends an event, and however late, its id is the row's id, and its sequence is the row's position.
func TestEventKeepsItsIDInEveryDelivery(t *testing.T) {
	ev := sinktest.Row()
	for _, profile := range []Profile{CloudEvents, Debezium} {
		for _, now := range []time.Time{sinktest.Noon, sinktest.Noon.Add(24 * time.Hour)} {
			c := NewComposer(Config{Profile: profile, PositionHeader: true, Source: "/walpost/shop/walpost.outbox"}, nil)
			c.now = now
			rec := compose(t, c, ev)
			if got := header(rec, "id"); got != "0b51f0a0-9d6c-4b7e-9d5a-000000000001" {
				t.Errorf("profile %v: id %s is not the row's", profile, got)
			}
			name, want := "ce_sequence", ev.Position.String()
			if profile == Debezium {
				name, want = "walpost_position", "/walpost/shop/walpost.outbox "+want
			}
			if got := header(rec, name); got != want {
				t.Errorf("profile %v: %s is %s, want %s", profile, name, got, want)
			}
		}
	}
}
