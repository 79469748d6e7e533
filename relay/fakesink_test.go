package relay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"walpost/relay/internal/wake"
	"walpost/schema"
)

// fakeSink is a sink that acks when the test says so. It keeps the published events, in order, also when it is opened several times.
type fakeSink struct {
	mu      sync.Mutex
	acks    Acks
	auto    bool            // ack at Flush
	refuse  map[string]bool // ids that Publish refuses
	forGood bool            // refused events are incurable
	reject  string          // the id of the event that is rejected instead of acked; later events are not acked
	forget  bool            // acked events are not kept
	events  []published     // all published events
	flushed int             // how many of them were flushed
	acked   int             // how many of the flushed ones were acked, in order
	base    int             // events[:base] were published before the last opening
	opened  int
	closed  int
	most    int64 // largest number of held bytes
	held    int64
	changed chan struct{}
}

// incurable is the part of an error that says whether a setting can help.
type incurable bool

func (incurable) Error() string     { return "" }
func (i incurable) Incurable() bool { return bool(i) }

type published struct {
	id       string
	payload  string
	position schema.Position
	commit   int64
	tx       uint64
	bytes    int
}

func newFakeSink(auto bool) *fakeSink {
	return &fakeSink{auto: auto, refuse: map[string]bool{}, changed: make(chan struct{}, 1)}
}

func (s *fakeSink) open(_ context.Context, acks Acks) (Sink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acks = acks
	s.opened++
	s.base = len(s.events)
	s.flushed, s.acked = s.base, s.base
	s.held = 0
	return s, nil
}

func (s *fakeSink) Publish(ev *schema.Event, tx uint64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := published{id: string(ev.Values[schema.ID]), payload: string(ev.Values[schema.Payload]), position: ev.Position, commit: ev.CommitTime, tx: tx}
	if s.refuse[p.id] {
		return 0, fmt.Errorf("event %s: topic %q is no topic%w", p.id, "a b", incurable(s.forGood))
	}
	p.bytes = 100 + len(p.payload)
	s.events = append(s.events, p)
	s.held += int64(p.bytes)
	s.most = max(s.most, s.held)
	return p.bytes, nil
}

func (s *fakeSink) Flush(bool) {
	s.mu.Lock()
	s.flushed = len(s.events)
	auto := s.auto
	s.mu.Unlock()
	wake.Signal(s.changed)
	if auto {
		s.ack(1 << 30)
	}
}

func (s *fakeSink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
	return nil
}

// ack acks up to n more events, in order, in one call.
func (s *fakeSink) ack(n int) (acked int) {
	s.mu.Lock()
	batch := s.events[s.acked:min(s.flushed, s.acked+n)]
	acks := s.acks
	for i, p := range batch {
		if p.id == s.reject {
			batch = batch[:i]
			defer acks.Rejected(p.tx, fmt.Errorf("event %s: no topic takes it", p.id))
			break
		}
	}
	s.acked += len(batch)
	var runs []schema.Run
	bytes := 0
	for _, p := range batch {
		if k := len(runs) - 1; k >= 0 && runs[k].Tx == p.tx {
			runs[k].Rows++
		} else {
			runs = append(runs, schema.Run{Tx: p.tx, Rows: 1})
		}
		bytes += p.bytes
	}
	s.held -= int64(bytes)
	acked = len(batch)
	if s.forget {
		s.events = slices.Delete(s.events, 0, s.acked)
		s.flushed -= s.acked
		s.acked = 0
	}
	s.mu.Unlock()
	if acked > 0 {
		acks.Acked(runs, bytes)
	}
	return acked
}

func (s *fakeSink) setAuto(on bool) {
	s.mu.Lock()
	s.auto = on
	s.mu.Unlock()
	if on {
		s.ack(1 << 30)
	}
}

func (s *fakeSink) all() []published {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]published(nil), s.events...)
}

func (s *fakeSink) ids() (ids []string) {
	for _, p := range s.all() {
		ids = append(ids, p.id)
	}
	return ids
}

// holds returns how many bytes the sink holds.
func (s *fakeSink) holds() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// distinct returns the number of different events.
func (s *fakeSink) distinct() int {
	seen := map[string]bool{}
	for _, id := range s.ids() {
		seen[id] = true
	}
	return len(seen)
}

func (s *fakeSink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushed
}

// payloads returns the payloads of the published events, in order.
func (s *fakeSink) payloads() (list []string) {
	for _, e := range s.all() {
		list = append(list, strings.Trim(e.payload, `"`))
	}
	return list
}
