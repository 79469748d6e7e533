package main

import (
	"fmt"
	"slices"
	"time"

	"walpost/internal/latencytrace"
)

// stage is a part of an event's way from commit to consumer.
type stage int

// The stages, in order. Each ends where the next one begins. The first begins with Postgres's commit timestamp, which is taken before the
// commit is flushed.
const (
	stageWAL     stage = iota // flushed and decoded, until the walsender sent it
	stageSocket               // until the reader had it
	stageDecode               // until it was published, after earlier events of the same read
	stagePass                 // until the pass was handed over, after later events of the same read
	stageLane                 // until its lane was queued: its partition had a request in flight
	stageQueue                // until the sender took it: the linger, other lanes of the pass, or no free request
	stageSeal                 // until it was compressed, after earlier batches of the request
	stageWrite                // until the request was written, after later batches of the request
	stageBroker               // until the answer was processed
	stageConsume              // until the consumer had it; negative if that was before the ack
	stages
)

var stageNames = [stages]string{"commit → sent by the walsender", "sent → read", "read → published", "published → handed over",
	"handed over → queued", "queued → taken by the sender", "taken → sealed", "sealed → request written", "written → acked", "acked → consumer"}

// delivery is the way of one event: how long each stage took, and what happened meanwhile.
type delivery struct {
	Committed    time.Time // by Postgres
	Took         [stages]time.Duration
	Returned     time.Duration // from Postgres's commit timestamp until COMMIT returned to the session
	SenderRan    time.Duration // how long the walsender ran before it sent the event
	SenderWaited time.Duration // how long it waited for a processor before that
	SenderEvent  string        // its most frequent wait event before that
	MarkRaised   bool          // the read that brought the event began with the low-water mark raised
	MarkLifted   bool          // that read lifted the mark, at the end of its deadline
	SurgeBegun   bool          // that read raised the mark for the next read
	ReaderBusy   bool          // the reader was busy when the walsender sent the event
	Flowing      bool          // the sink was told that more was coming
	Linger       bool          // its lane waited for a linger
	LaneBusy     bool          // its partition had a request in flight
	AtQueue      int           // requests in flight to its broker when its lane was queued
	AtSend       int           // other requests in flight when its own was sent
	PassEvents   int
	PassReads    int
	BatchTxs     int // transactions in its batch
	RequestParts int
}

// total returns the time from Postgres's commit timestamp until a consumer had the record.
func (d *delivery) total() (sum time.Duration) {
	for _, took := range d.Took {
		sum += took
	}
	return sum
}

// relayed returns the time from the walsender's sending until the ack: the part of relay and broker.
func (d *delivery) relayed() time.Duration {
	return d.total() - d.Took[stageWAL] - d.Took[stageConsume]
}

// join returns the delivery of each row. Every row is a transaction of its own, which the LSN of its commit identifies.
func join(t *latencytrace.Trace, w *walsenderWatch, all []stamps) ([]delivery, error) {
	if t.Sessions != 1 || t.Lost > 0 {
		return nil, fmt.Errorf("join the trace: it has %d sessions instead of 1, and %d records were lost", t.Sessions, t.Lost)
	}
	byLSN := make(map[uint64]*latencytrace.Transaction, len(t.Transactions))
	for i := range t.Transactions {
		byLSN[t.Transactions[i].LSN] = &t.Transactions[i]
	}
	type place struct {
		request *latencytrace.Request
		part    *latencytrace.Part
	}
	requests := make(map[uint64]place, len(t.Transactions))
	for i := range t.Requests {
		q := &t.Requests[i]
		if q.Failed {
			continue
		}
		for j := range q.Parts {
			for _, tx := range q.Parts[j].Txs {
				requests[tx] = place{q, &q.Parts[j]}
			}
		}
	}
	var found []delivery
	for i := range all {
		s := &all[i]
		tx := byLSN[s.lsn]
		if tx == nil {
			return nil, fmt.Errorf("join row %d, commit LSN %X: the trace does not have that transaction", i, s.lsn)
		}
		// The passes of a session cover the transactions in order.
		n, _ := slices.BinarySearchFunc(t.Passes, tx.Tx, func(p latencytrace.Pass, tx uint64) int {
			switch {
			case p.Last < tx:
				return -1
			case p.First > tx:
				return 1
			}
			return 0
		})
		at, there := requests[tx.Tx]
		if n == len(t.Passes) || t.Passes[n].First > tx.Tx || !there {
			return nil, fmt.Errorf("join row %d, transaction %d: no pass or no request in the trace has it", i, tx.Tx)
		}
		d := deliveryOf(s, tx, &t.Passes[n], at.request, at.part)
		ran, event := w.between(tx.Committed, tx.Sent)
		d.SenderRan, d.SenderWaited, d.SenderEvent = ran.ran, ran.waited, event
		found = append(found, d)
	}
	return found, nil
}

func deliveryOf(s *stamps, tx *latencytrace.Transaction, p *latencytrace.Pass, q *latencytrace.Request, part *latencytrace.Part) delivery {
	d := delivery{
		Committed: tx.Committed, Returned: s.committed.Sub(tx.Committed),
		MarkRaised: p.MarkAtBegin, MarkLifted: p.MarkAtBegin && !p.MarkAtReturn, SurgeBegun: !p.MarkAtBegin && p.MarkAtReturn,
		ReaderBusy: tx.Sent.Before(p.Began), Flowing: p.Flowing, Linger: part.Linger > 0, LaneBusy: part.Behind,
		AtQueue: part.UnderWay, AtSend: q.UnderWay, PassEvents: p.Events, PassReads: p.Reads, BatchTxs: len(part.Txs), RequestParts: len(q.Parts),
	}
	written := q.Written
	if written.IsZero() {
		written = q.Sent
	}
	// A stage whose end is before its beginning took no time: the lane was queued before it got the event, or the event's Begin message came
	// with an earlier read.
	last := tx.Committed
	for i, moment := range [stages]time.Time{tx.Sent, p.Read, tx.Decoded, p.HandedOver, part.At, q.Woken, part.Sealed, written, q.Settled, s.seen} {
		if stage(i) == stageConsume || moment.After(last) {
			d.Took[i] = moment.Sub(last)
			last = moment
		}
	}
	return d
}

// group is some deliveries in a report.
type group struct {
	Name       string
	Deliveries int
	Median     [stages]float64 // milliseconds
	P90        [stages]float64
	Longest    [stages]int // for how many deliveries this stage was the longest
	Total      quantiles
	Returned   float64            // median, until COMMIT returned
	Facts      map[string]float64 // shares and means, by the names of facts
	Events     map[string]int     // for how many deliveries each wait event of the walsender was the most frequent
}

// stageReport shows in which stages deliveries spent their time.
type stageReport struct {
	Groups    []group    // all, those beyond the 90th percentile, those beyond 10 ms, and those beyond 10 ms from sent to acked
	Slowest   []delivery // the ten slowest
	Stretches []stretch  // of those beyond 10 ms, the one with the most deliveries first
}

// stretch is a time in which many deliveries were slow, probably for one cause.
type stretch struct {
	Begin      time.Time
	Length     time.Duration
	Deliveries int
	Longest    stage // of the slowest of them
	slowest    time.Duration
}

// far is the time beyond which a delivery counts as slow in any case.
const far = 10 * time.Millisecond

// reportStages returns a report on deliveries, nil if there are none. It sorts them by their totals.
func reportStages(all []delivery) *stageReport {
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b delivery) int { return int(a.total() - b.total()) })
	slow := all[min(len(all)*9/10, len(all)-1):]
	beyond, _ := slices.BinarySearchFunc(all, far, func(d delivery, far time.Duration) int {
		if d.total() <= far {
			return -1
		}
		return 1
	})
	var late []delivery
	for i := range all {
		if all[i].relayed() > far {
			late = append(late, all[i])
		}
	}
	r := &stageReport{Groups: []group{groupOf("all", all), groupOf("> p90", slow), groupOf("> 10 ms", all[beyond:]), groupOf("> 10 ms, sent → acked", late)}}
	r.Stretches = stretches(all[beyond:])
	for i := len(all) - 1; i >= 0 && len(r.Slowest) < 10; i-- {
		r.Slowest = append(r.Slowest, all[i])
	}
	return r
}

// stretches groups slow deliveries that overlap in time.
func stretches(slow []delivery) (found []stretch) {
	slow = slices.SortedFunc(slices.Values(slow), func(a, b delivery) int { return a.Committed.Compare(b.Committed) })
	for i := range slow {
		d := &slow[i]
		end := d.Committed.Add(d.total())
		if len(found) == 0 || d.Committed.After(found[len(found)-1].Begin.Add(found[len(found)-1].Length)) {
			found = append(found, stretch{Begin: d.Committed})
		}
		s := &found[len(found)-1]
		s.Length = max(s.Length, end.Sub(s.Begin))
		s.Deliveries++
		if d.total() > s.slowest {
			s.slowest, s.Longest = d.total(), d.longest()
		}
	}
	slices.SortStableFunc(found, func(a, b stretch) int { return b.Deliveries - a.Deliveries })
	return found
}

// longest returns the stage that took the most time.
func (d *delivery) longest() stage {
	longest := 0
	for i, took := range d.Took {
		if took > d.Took[longest] {
			longest = i
		}
	}
	return stage(longest)
}

func groupOf(name string, some []delivery) group {
	g := group{Name: name, Deliveries: len(some), Facts: map[string]float64{}, Events: map[string]int{}, Total: quantilesOf(some, func(d delivery) time.Duration { return d.total() })}
	for i := range stages {
		q := quantilesOf(some, func(d delivery) time.Duration { return d.Took[i] })
		g.Median[i], g.P90[i] = q.P50, q.P90
	}
	g.Returned = quantilesOf(some, func(d delivery) time.Duration { return d.Returned }).P50
	for i := range some {
		g.Longest[some[i].longest()]++
		g.Events[some[i].SenderEvent]++
		for _, f := range facts {
			g.Facts[f.name] += f.of(&some[i]) / float64(len(some))
		}
	}
	return g
}

// facts are figures about deliveries: shares in percent, and means.
var facts = []struct {
	name string
	of   func(*delivery) float64
}{
	{"ms from commit to sent (mean)", func(d *delivery) float64 { return milliseconds(d.Took[stageWAL]) }},
	{"ms that the walsender ran before it sent", func(d *delivery) float64 { return milliseconds(d.SenderRan) }},
	{"ms that it waited for a processor before", func(d *delivery) float64 { return milliseconds(d.SenderWaited) }},
	{"% low-water mark raised while it was waited for", func(d *delivery) float64 { return percent(d.MarkRaised) }},
	{"% mark lifted at the deadline by its read", func(d *delivery) float64 { return percent(d.MarkLifted) }},
	{"% mark raised by its read for the next", func(d *delivery) float64 { return percent(d.SurgeBegun) }},
	{"% reader busy when it was sent", func(d *delivery) float64 { return percent(d.ReaderBusy) }},
	{"% sink told that more is coming", func(d *delivery) float64 { return percent(d.Flowing) }},
	{"% lane waited for a linger", func(d *delivery) float64 { return percent(d.Linger) }},
	{"% lane busy with the previous request", func(d *delivery) float64 { return percent(d.LaneBusy) }},
	{"requests in flight to the broker when queued", func(d *delivery) float64 { return float64(d.AtQueue) }},
	{"other requests in flight when sent", func(d *delivery) float64 { return float64(d.AtSend) }},
	{"events in its pass", func(d *delivery) float64 { return float64(d.PassEvents) }},
	{"reads in its pass", func(d *delivery) float64 { return float64(d.PassReads) }},
	{"events in its batch", func(d *delivery) float64 { return float64(d.BatchTxs) }},
	{"batches in its request", func(d *delivery) float64 { return float64(d.RequestParts) }},
}

func percent(b bool) float64 {
	if b {
		return 100
	}
	return 0
}
