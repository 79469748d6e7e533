package sink

import (
	"sync/atomic"
	"time"

	"walpost/schema"
	"walpost/sink/lane"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// missing holds the events whose rows name a partition that their topic does not have, as far as walpost knows. The partition may be new, so
// the event is refused only after the brokers have reported for a while that it does not exist. Later events of the same key wait behind it.
// All other events of the topic flow. Otherwise a service that fills the column with a wrong number would stop a topic again and again.
//
// The topic's mu guards the fields, except any.
type missing struct {
	any    atomic.Bool    // whether there are such events: then all events of the topic go through handOver
	events []*unplaced    // in order
	keys   map[string]int // how many events of each key are there
	open   *unplaced      // the last of events, while more are added to it
	asking bool           // askForMissing is running
}

// has reports whether an event of this key has to wait.
func (m *missing) has(key []byte) bool {
	return key != nil && m.keys[string(key)] > 0
}

// remove notes that an event of this key does not wait any more.
func (m *missing) remove(key []byte) {
	if key == nil {
		return
	}
	if m.keys[string(key)]--; m.keys[string(key)] == 0 {
		delete(m.keys, string(key))
	}
}

// add adds an event. explicit is the partition that its row names; -1: none. A batch has at most limit bytes, unless it has one event only.
func (m *missing) add(r recordbatch.Raw, from lane.Origin, held int, explicit int32, since time.Time, limit int) {
	if m.open == nil || m.open.Len()+r.Len+recordbatch.Overhead > limit {
		m.open = &unplaced{came: time.Now()}
		m.open.HandedOver(since)
		m.events = append(m.events, m.open)
		m.any.Store(true)
	}
	m.open.AppendRaw(r, from, held)
	m.open.explicit = append(m.open.explicit, explicit)
	if key := r.Key(); key != nil {
		if m.keys == nil {
			m.keys = map[string]int{}
		}
		m.keys[string(key)]++
	}
}

// endBatch makes later events start a batch of their own, because they come later.
func (m *missing) endBatch() { m.open = nil }

// take removes and returns all events. Meanwhile the topic's lanes accept no events.
func (m *missing) take() []*unplaced {
	all := m.events
	m.events, m.keys, m.open = nil, nil, nil
	m.any.Store(false)
	return all
}

// askForMissing asks for the topic's partitions as long as events of missing ones wait. If their number changes, arrange places the events.
func (t *topic) askForMissing(p *Producer) {
	for failures := 0; ; {
		asked := time.Now()
		if !p.wait(p.refresh(t)) {
			return
		}
		count, err := p.meta.Partitions(t.name)
		if failures++; err == nil {
			failures = 0
		}
		if !t.judgeMissing(p, asked, count, err) || !p.sleep(max(min(arrangePause, p.confirmFewer), pauseAfter(failures))) {
			return
		}
	}
}

// judgeMissing refuses the events whose partitions the brokers have denied for long enough. count and err are the answer to a question that
// was asked at this time. judgeMissing returns false if no events are left.
func (t *topic) judgeMissing(p *Producer, asked time.Time, count int, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, now := &t.missing, time.Now()
	sure := err == nil && count == t.count && t.partitions.Load() != nil
	refused := 0
	for i, u := range m.events {
		switch {
		case !sure:
			u.denied = time.Time{}
		case u.denied.IsZero() && u.came.Before(asked): // an answer to an earlier question may be older than the partition
			u.denied = now
		case !u.denied.IsZero() && now.Sub(u.denied) >= p.confirmFewer:
			refused = i + 1
		}
	}
	behind := t.refuseMissing(p, m.events[:refused])
	m.events = m.events[refused:]
	if len(behind) > 0 {
		// They can be placed only while no pass is open, as arrange does it. What came after them goes with them, because it may have the
		// same keys.
		t.reconsider(p)
		t.waiting = append(append(behind, m.take()...), t.waiting...)
	}
	if len(m.events) == 0 {
		m.take()
		m.asking = false
	}
	return m.asking
}

// refuseMissing refuses the events whose rows name a partition that is not there. What has waited behind them is parked with them, or
// returned if it is to be sent. t.mu is held.
func (t *topic) refuseMissing(p *Producer, denied []*unplaced) (behind []*unplaced) {
	for _, u := range denied {
		others := &unplaced{}
		others.HandedOver(u.Since())
		u.EachHeld(func(i int, r recordbatch.Raw, from lane.Origin, held int) {
			n := u.explicit[i]
			if int(n) < t.count {
				if v := p.verdict(t.name, r.Key(), from); v == schema.Park || v == schema.Wait {
					// It is parked here, because another event of its key may be refused next.
					t.missing.remove(r.Key())
					a := p.aside(t.name)
					a.add(v, r, from, held, n)
					a.report()
					return
				}
				others.AppendRaw(r, from, held)
				others.explicit = append(others.explicit, n)
				return
			}
			t.missing.remove(r.Key())
			bad := record.BadPartition(t.name, r, from.Type, n, t.count)
			if p.rejects(t.name, r.Key(), from) {
				p.rejected(from, bad)
				return
			}
			p.park([]*schema.DeadLetter{p.refusedLetter(bad, r, from, held, n)})
		})
		u.Reset()
		if others.Count() > 0 {
			behind = append(behind, others)
		}
	}
	return behind
}
