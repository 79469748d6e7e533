package sink

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"walpost/schema"
	"walpost/sink/recordbatch"
)

// composer makes records out of events, after the profile cloudevents. It belongs to the goroutine that publishes; the record that
// compose returns is valid until the next call.
type composer struct {
	source []byte // ce_source
	now    time.Time

	rec     recordbatch.Record
	user    headerReader
	time    [len("2006-01-02T15:04:05.000000Z")]byte
	pos     [schema.PositionLen]byte
	refused func(name string) // told of a reserved name in the headers column
}

// The names of the headers that every record has, encoded once.
var (
	nameID          = recordbatch.EncodeName("id")
	nameSpecVersion = recordbatch.EncodeName("ce_specversion")
	nameCEID        = recordbatch.EncodeName("ce_id")
	nameSource      = recordbatch.EncodeName("ce_source")
	nameType        = recordbatch.EncodeName("ce_type")
	nameSubject     = recordbatch.EncodeName("ce_subject")
	nameTime        = recordbatch.EncodeName("ce_time")
	nameSequence    = recordbatch.EncodeName("ce_sequence")
	nameContentType = recordbatch.EncodeName("content-type")

	specVersion  = []byte("1.0")
	contentTypes = [...][]byte{
		schema.JSON:  []byte("application/json"),
		schema.Text:  []byte("text/plain"),
		schema.Bytes: []byte("application/octet-stream"),
	}
)

// What makes a row no event.
var (
	errNoID   = errors.New("its id is NULL")
	errNoType = errors.New("its type and its aggregatetype are NULL or empty")
)

// compose makes ev's record.
func (c *composer) compose(ev *schema.Event) (*recordbatch.Record, error) {
	id, key := ev.Values[schema.ID], ev.Values[schema.AggregateID]
	if id == nil {
		return nil, errNoID
	}
	typ := ev.TypeOrAggregate()
	if len(typ) == 0 {
		return nil, errNoType
	}
	r := &c.rec
	r.Timestamp = c.timestamp(ev)
	r.Key, r.Value = key, ev.Values[schema.Payload]
	h := append(r.Headers[:0],
		recordbatch.Header{Name: nameID, Value: id},
		recordbatch.Header{Name: nameSpecVersion, Value: specVersion},
		recordbatch.Header{Name: nameCEID, Value: id},
		recordbatch.Header{Name: nameSource, Value: c.source},
		recordbatch.Header{Name: nameType, Value: typ})
	if key != nil {
		h = append(h, recordbatch.Header{Name: nameSubject, Value: key})
	}
	seq, _ := ev.Position.AppendText(c.pos[:0])
	h = append(h,
		recordbatch.Header{Name: nameTime, Value: c.instant(ev)},
		recordbatch.Header{Name: nameSequence, Value: seq})
	own := false // content-type from the headers column
	if v := ev.Values[schema.Headers]; v != nil {
		var err error
		if h, own, err = c.user.append(h, v, c.refused); err != nil {
			r.Headers = h[:0]
			return nil, fmt.Errorf("column headers: %w", err)
		}
	}
	if r.Value != nil && !own {
		h = append(h, recordbatch.Header{Name: nameContentType, Value: contentTypes[ev.Content]})
	}
	r.Headers = h
	return r, nil
}

// timestamp is the record's time in milliseconds: the mapped column, else the commit, else now; never ahead of now, for brokers refuse
// what is more than an hour ahead of their clock, and never before 1970, which they refuse too.
func (c *composer) timestamp(ev *schema.Event) int64 {
	ts := ev.Timestamp
	if ts == schema.NoTime {
		ts = ev.CommitTime
	}
	if now := c.now.UnixMicro(); ts == schema.NoTime || ts > now {
		// c.now may be a read pass old: look at the clock before deciding that an event is from the future.
		c.now = time.Now()
		if now = c.now.UnixMicro(); ts == schema.NoTime || ts > now {
			ts = now
		}
	}
	return max(ts/1000, 0)
}

// instant is ce_time: created_at, else the commit, else now.
func (c *composer) instant(ev *schema.Event) []byte {
	us := ev.CreatedAt
	if us == schema.NoTime {
		us = ev.CommitTime
	}
	if us == schema.NoTime {
		us = c.now.UnixMicro()
	}
	return appendInstant(c.time[:0], us)
}

// appendInstant appends microseconds since 1970 as RFC 3339 with six decimals and Z. It does by hand what time.AppendFormat does ten
// times slower, once per event.
func appendInstant(b []byte, us int64) []byte {
	sec, frac := floorDiv(us, 1_000_000)
	day, sec := floorDiv(sec, 86_400)
	// Days to a date by era, after the proleptic Gregorian calendar with years that begin in March.
	day += 719_468
	era, doe := floorDiv(day, 146_097)
	yoe := (doe - doe/1460 + doe/36_524 - doe/146_096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	month := (5*doy + 2) / 153
	d := doy - (153*month+2)/5 + 1
	year := yoe + era*400
	if month += 3; month > 12 {
		month, year = month-12, year+1
	}
	b = appendDigits(b, year, 4)
	b = appendDigits(append(b, '-'), month, 2)
	b = appendDigits(append(b, '-'), d, 2)
	b = appendDigits(append(b, 'T'), sec/3600, 2)
	b = appendDigits(append(b, ':'), sec/60%60, 2)
	b = appendDigits(append(b, ':'), sec%60, 2)
	b = appendDigits(append(b, '.'), frac, 6)
	return append(b, 'Z')
}

func floorDiv(a, b int64) (q, r int64) {
	q, r = a/b, a%b
	if r < 0 {
		q, r = q-1, r+b
	}
	return q, r
}

func appendDigits(b []byte, v int64, n int) []byte {
	at := len(b)
	b = append(b, "000000"[:n]...)
	for i := at + n - 1; i >= at; i-- {
		b[i] = byte('0' + v%10)
		v /= 10
	}
	return b
}

// place names an event's partition: the number in the mapped column, else by the hash of its key, or of its id when it has none, so that
// a replay goes to the same one.
type place struct {
	explicit int32 // -1: by hash
	hash     []byte
}

func placeOf(ev *schema.Event) (place, error) {
	if v := ev.Values[schema.Partition]; v != nil {
		n, err := strconv.ParseInt(string(v), 10, 32)
		if err != nil || n < 0 {
			return place{}, fmt.Errorf("column partition: %s is no partition number", v)
		}
		return place{explicit: int32(n)}, nil
	}
	if key := ev.Values[schema.AggregateID]; key != nil {
		return place{explicit: -1, hash: key}, nil
	}
	return place{explicit: -1, hash: ev.Values[schema.ID]}, nil
}
