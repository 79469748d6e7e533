package record

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"walpost/schema"
	"walpost/sink/recordbatch"
)

// Config configures how events become records.
type Config struct {
	Topic          schema.Template // topic of a row that does not name one itself
	Source         string          // ce_source
	Profile        Profile         // style of the headers
	PositionHeader bool            // with profile Debezium: add the header walpost_position
	// Static holds headers for every record. A header of the same name in the row's headers column wins. No name may be [Reserved].
	Static map[string]string
}

// Composer turns events into records. It belongs to one goroutine.
type Composer struct {
	topic    schema.Template
	profile  Profile
	position bool   // with profile Debezium: add the header walpost_position
	source   []byte // ce_source
	static   []recordbatch.Header
	now      time.Time

	rec      recordbatch.Record
	user     headerReader
	time     instant
	pos      []byte            // scratch space
	reserved func(name string) // is called with each reserved name in the headers column
}

// NewComposer returns a composer that is configured by cfg. It calls reserved with each reserved name in a headers column, and leaves that
// header out.
func NewComposer(cfg Config, reserved func(name string)) *Composer {
	c := &Composer{topic: cfg.Topic, profile: cfg.Profile, position: cfg.PositionHeader, source: []byte(cfg.Source), now: time.Now(), reserved: reserved}
	for _, name := range slices.Sorted(maps.Keys(cfg.Static)) {
		c.static = append(c.static, recordbatch.Header{Name: recordbatch.EncodeName(name), Value: []byte(cfg.Static[name])})
	}
	return c
}

// SetNow sets the timestamp for records that have none of their own. The caller sets it once for each read pass, so that not every record
// needs to read the clock.
func (c *Composer) SetNow(now time.Time) { c.now = now }

// The reasons why a row is not an event.
var (
	errNoID    = errors.New("its id is NULL")
	errEmptyID = errors.New("its id is empty")
	errNoType  = errors.New("its type and its aggregatetype are NULL or empty")
)

// Compose returns ev's record, valid until the next call. An error means that ev can never be a record, see [BadRow].
func (c *Composer) Compose(ev *schema.Event) (*recordbatch.Record, error) {
	switch id := ev.Values[schema.ID]; {
	case id == nil:
		return nil, errNoID
	case len(id) == 0: // consumers would treat two such events as one, and drop the second
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

// headers appends the headers of ev's record to h.
func (c *Composer) headers(h []recordbatch.Header, ev *schema.Event) (_ []recordbatch.Header, err error) {
	h = append(h, recordbatch.Header{Name: nameID, Value: ev.Values[schema.ID]})
	if c.profile == CloudEvents {
		if h, err = c.appendCloudEvent(h, ev); err != nil {
			return h, err
		}
	}
	row, own := len(h), false // where the row's headers begin, and whether they have a content-type
	if v := ev.Values[schema.Headers]; v != nil {
		if h, own, err = c.user.append(h, v, c.reserved); err != nil {
			return h, fmt.Errorf("column headers: %w", err)
		}
	}
	if len(c.static) > 0 {
		h = c.appendStatic(h, h[row:])
	}
	switch {
	case c.profile == CloudEvents && ev.Values[schema.Payload] != nil && !own:
		h = append(h, recordbatch.Header{Name: nameContentType, Value: contentTypes[ev.Content]})
	case c.profile == Debezium && c.position:
		h = c.appendPosition(h, ev)
	}
	return h, nil
}

// appendStatic appends the static headers, except those whose names the row has.
func (c *Composer) appendStatic(h, row []recordbatch.Header) []recordbatch.Header {
	for _, s := range c.static {
		if !slices.ContainsFunc(row, func(r recordbatch.Header) bool { return bytes.Equal(r.Name, s.Name) }) {
			h = append(h, s)
		}
	}
	return h
}

// timestamp returns the record's time in milliseconds: the mapped column, else the commit, else now. It is never later than now, because
// brokers refuse records that are more than an hour ahead of their clock. It is never before 1970, which brokers refuse too.
func (c *Composer) timestamp(ev *schema.Event) int64 {
	ts := ev.Timestamp
	if ts == schema.NoTime {
		ts = ev.CommitTime
	}
	if now := c.now.UnixMicro(); ts == schema.NoTime || ts > now {
		// c.now may be a read pass old. So read the clock before deciding that an event lies in the future.
		c.now = time.Now()
		if now = c.now.UnixMicro(); ts == schema.NoTime || ts > now {
			ts = now
		}
	}
	return max(ts/1000, 0)
}

// Time returns ce_time: created_at, else the commit, else now. The slice is valid until the next call of Time or Compose.
func (c *Composer) Time(ev *schema.Event) []byte {
	us := ev.CreatedAt
	if us == schema.NoTime {
		us = ev.CommitTime
	}
	if us == schema.NoTime {
		us = c.now.UnixMicro()
	}
	return c.time.of(us)
}
