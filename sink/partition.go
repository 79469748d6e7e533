package sink

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/latencytrace"
	"walpost/internal/reason"
	"walpost/sink/kafkaerror"
	"walpost/sink/lane"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// partition connects a lane with what the lane does not know: its topic and its number.
type partition struct {
	lane  *lane.Lane
	topic *topic
	index int32

	// Only the lane's driver uses these.
	searches int       // how often a search for its leader has failed
	searched time.Time // when the search began
	failed   bool      // an attempt has failed since the last ack
	apart    *apart    // state while it is sent apart; nil: it is sent with the others

	queued *latencytrace.Queue // when the lane was last queued; only with a trace
	behind bool                // the lane was queued when its previous request was answered; only with a trace
}

func (part *partition) String() string {
	return fmt.Sprintf("partition %d of topic %s", part.index, part.topic.name)
}

// giveBack empties the lane of a partition that no longer exists, and returns its events. The lane is at rest, so it has no driver.
func (part *partition) giveBack() []*unplaced {
	part.apart = nil
	if part.failed {
		part.failed = false
		part.topic.failing.Add(-1)
	}
	var back []*unplaced
	for _, b := range part.lane.GiveBack() {
		u := &unplaced{Batch: *b, explicit: make([]int32, b.Count())}
		for i := range u.explicit {
			u.explicit[i] = -1
			if b.NamesPartition(i) {
				u.explicit[i] = part.index
			}
		}
		back = append(back, u)
	}
	return back
}

// route hands a queued lane to the sender of its leader. It may be called from any goroutine and does not block.
func (p *Producer) route(part *partition) {
	on, full := part.lane.Sender()
	if s, ok := on.(*sender); !ok || !s.push(part, full) {
		p.resends.add(part, 0, nil, false)
	}
}

// findLeaders hands queued lanes to the senders of the brokers that lead their partitions. A lane without a leader waits for the next
// refresh of its topic. For each lane, only one goroutine at a time calls findLeaders. It does not block.
func (p *Producer) findLeaders(parts []*partition) {
	var held []*sender
	if len(parts) > 1 { // so that they share requests
		held = p.holdSenders(nil)
	}
	var lost []*partition
	for _, part := range parts {
		searches := part.searches
		part.searches = 0 // here, because the next holder of the lane becomes its driver
		if part.lane.StopIfGone() || p.toLeader(part) {
			continue
		}
		if part.searches = searches + 1; searches == 0 {
			part.searched = time.Now()
		}
		lost = append(lost, part)
	}
	for _, s := range held {
		s.release(false, false)
	}
	for _, part := range lost { // logging may be slow, and must not keep others from sending
		_, err := p.meta.Leader(part.topic.name, part.index)
		part.lane.Lost(err)
		if part.topic.takesBack(p, err, part.searched) && !p.takeBack(part) {
			continue
		}
		part.fails()
		part.topic.warn(p, part, part.searched, err)
		p.resends.add(part, pauseAfter(part.searches), p.refresh(part.topic), false)
	}
}

// toLeader hands a queued lane to the sender of its partition's leader. It reports whether a leader is known.
func (p *Producer) toLeader(part *partition) bool {
	b, err := p.meta.Leader(part.topic.name, part.index)
	if err != nil {
		return false
	}
	s := p.senderOf(b)
	if s == nil {
		return false
	}
	part.lane.SetSender(s)
	return s.push(part, true)
}

// senderOf returns the sender of a broker, or nil if the producer is closed. A broker with a new address gets a new sender.
func (p *Producer) senderOf(b *sarama.Broker) *sender {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return nil
	}
	s := p.senders[b.ID()]
	if s != nil && s.broker == b {
		return s
	}
	if s != nil {
		s.close()
	}
	s = newSender(p, b)
	p.senders[b.ID()] = s
	return s
}

// finish settles b, the lane's head, and does the next step for the lane.
func (p *Producer) finish(part *partition, b *lane.Batch, o lane.Outcome) {
	size := b.Len() // now: Settle may empty or divide the batch
	failed := part.failed
	part.failed = false // now: if nothing is left after Settle, another goroutine may drive the lane
	next, head := part.lane.Settle(o)
	recovered := failed && head != nil
	switch {
	case recovered:
		part.topic.failing.Add(-1)
	case failed: // there is more to send, so this is the driver still
		part.failed = true
	}
	switch next {
	case lane.Empty, lane.SendNext:
		if head != nil {
			part.topic.took(p, len(head.Wire()))
			p.acked(part, head)
			if recovered {
				part.topic.recovered(p)
			}
		} else if kafkaerror.Reason(o.Err) == reason.MessageTooLarge {
			p.start(func() { part.topic.shrink(p, size) })
		}
		if next == lane.SendNext {
			part.behind = p.cfg.Trace != nil
			p.route(part)
		}
	case lane.Resend, lane.Renew:
		p.metrics.retries.Inc()
		part.fails()
		_, since := part.lane.Failing()
		switch {
		case part.topic.takesBack(p, o.Err, since):
			if p.takeBack(part) {
				p.route(part)
			}
		case next == lane.Renew:
			p.renew(part, o.Err)
		default:
			p.retry(part, o.Err)
		}
	case lane.SetAside:
		p.parkHead(part, head, o.Err)
		switch part.lane.Next() {
		case lane.SendNext:
			p.route(part)
		case lane.Renew:
			p.renew(part, o.Err)
		}
	case lane.Reject:
		var bad *record.BadEvent
		var of lane.Origin
		head.Each(func(_ int, r recordbatch.Raw, from lane.Origin) {
			bad, of = record.BadRecord(part.topic.name, r, from.Type, o.Err), from
		})
		p.rejected(of, bad)
	}
}

// acked reports a batch that is in Kafka's log.
func (p *Producer) acked(part *partition, b *lane.Batch) {
	p.reports.RLock()
	defer p.reports.RUnlock()
	if p.silent {
		return
	}
	part.topic.published.Add(float64(b.Count()))
	part.topic.bytes.Add(float64(len(b.Wire())))
	part.topic.acked.Store(time.Now().UnixNano())
	part.topic.breaker.Took()
	p.metrics.connected.Set(1)
	p.acks.Acked(b.Runs(), b.Held())
	p.pool.Put(b)
}

// retry sends the lane's head again after a pause that grows, to the broker that leads the partition then. It looks for the leader only if
// the error may mean that another broker leads the partition.
func (p *Producer) retry(part *partition, err error) {
	failures, since := part.lane.Failing()
	part.topic.warn(p, part, since, err)
	var refresh <-chan struct{}
	if kafkaerror.Elsewhere(err) {
		refresh = p.refresh(part.topic)
	}
	p.resends.add(part, pauseAfter(failures), refresh, false)
}

// renew gives the lane a new producer id. Events that may already be in the log are then sent a second time: a duplicate, never a gap.
func (p *Producer) renew(part *partition, err error) {
	part.topic.warnRenewal(p, part, err)
	// If the partition refuses one producer id after the other, the attempts need a pause.
	pause := time.Duration(0)
	if failures, _ := part.lane.Failing(); failures > 1 {
		pause = pauseAfter(failures)
	}
	p.resends.add(part, pause, nil, true)
}
