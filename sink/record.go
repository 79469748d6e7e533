package sink

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"walpost/schema"
	"walpost/sink/recordbatch"
)

// composer makes records out of events. It belongs to the goroutine that publishes; the record that compose returns is valid until the
// next call.
type composer struct {
	profile  Profile
	position bool   // profile Debezium: with the header walpost_position
	source   []byte // ce_source
	now      time.Time

	rec     recordbatch.Record
	user    headerReader
	time    instant
	pos     []byte            // scratch space
	refused func(name string) // told of a reserved name in the headers column
}

// newComposer returns a composer of records as cfg wants them. It tells refused of reserved names in headers columns.
func newComposer(cfg *Config, refused func(name string)) composer {
	return composer{profile: cfg.Profile, position: cfg.PositionHeader, source: []byte(cfg.Source), now: time.Now(), refused: refused}
}

// What makes a row no event.
var (
	errNoID    = errors.New("its id is NULL")
	errEmptyID = errors.New("its id is empty")
	errNoType  = errors.New("its type and its aggregatetype are NULL or empty")
)

// compose makes ev's record.
func (c *composer) compose(ev *schema.Event) (*recordbatch.Record, error) {
	switch id := ev.Values[schema.ID]; {
	case id == nil:
		return nil, errNoID
	case len(id) == 0: // two of them would pass for one event: consumers drop the second
		return nil, errEmptyID
	}
	r := &c.rec
	r.Timestamp = c.timestamp(ev)
	r.Key, r.Value = ev.Values[schema.AggregateID], ev.Values[schema.Payload]
	var err error
	r.Headers, err = c.headers(r.Headers[:0], ev)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// headers adds the headers of ev's record to h.
func (c *composer) headers(h []recordbatch.Header, ev *schema.Event) (_ []recordbatch.Header, err error) {
	h = append(h, recordbatch.Header{Name: nameID, Value: ev.Values[schema.ID]})
	if c.profile == CloudEvents {
		if h, err = c.appendCloudEvent(h, ev); err != nil {
			return h, err
		}
	}
	own := false // content-type from the headers column
	if v := ev.Values[schema.Headers]; v != nil {
		if h, own, err = c.user.append(h, v, c.refused); err != nil {
			return h, fmt.Errorf("column headers: %w", err)
		}
	}
	switch {
	case c.profile == CloudEvents && ev.Values[schema.Payload] != nil && !own:
		h = append(h, recordbatch.Header{Name: nameContentType, Value: contentTypes[ev.Content]})
	case c.profile == Debezium && c.position:
		h = c.appendPosition(h, ev)
	}
	return h, nil
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
	return c.time.of(us)
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
