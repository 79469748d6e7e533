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

// partition joins the lane of a partition with what the lane does not know: its topic and its number.
type partition struct {
	lane  *lane.Lane
	topic *topic
	index int32

	// The lane's driver's.
	searches int       // how often its leader was looked for in vain
	searched time.Time // when that began
	apart    *apart    // how it is sent apart from the others, nil: with them

	queued *latencytrace.Queue // when the lane was last queued, if that is traced
	behind bool                // the lane is queued because the request before was answered, if that is traced
}

func (part *partition) String() string {
	return fmt.Sprintf("partition %d of topic %s", part.index, part.topic.name)
}

// giveBack empties the lane of a partition that is no more. The lane is at rest, so it has no driver.
func (part *partition) giveBack() []*unplaced {
	part.apart = nil
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

// findLeaders hands queued lanes to the senders of the brokers that lead their partitions. One without a leader waits for the next look at
// its topic. It is called by one goroutine at a time for each lane, and does not block.
func (p *Producer) findLeaders(parts []*partition) {
	var held []*sender
	if len(parts) > 1 { // they share requests
		held = p.holdSenders(nil)
	}
	var lost []*partition
	for _, part := range parts {
		searches := part.searches
		part.searches = 0 // whoever has the lane next is its driver
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
	for _, part := range lost { // the log may be slow, and keeps nobody from sending
		_, err := p.meta.Leader(part.topic.name, part.index)
		part.topic.warn(p, part, part.searched, err)
		p.resends.add(part, pauseAfter(part.searches), p.look(part.topic), false)
	}
}

// toLeader hands a queued lane to the sender of the broker that leads its partition, and reports whether one is known.
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

// senderOf returns the sender of a broker, nil once the producer is closed. A broker that got a new address is a new one.
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

// finish settles b, the lane's head, and does what its outcome asks for.
func (p *Producer) finish(part *partition, b *lane.Batch, o lane.Outcome) {
	size := b.Len() // of what may be emptied or divided below
	next, head := part.lane.Settle(o)
	switch next {
	case lane.Empty, lane.SendNext:
		if head != nil {
			p.acked(part, head)
		} else if kafkaerror.Reason(o.Err) == reason.MessageTooLarge {
			p.start(func() { part.topic.shrink(p, size) })
		}
		if next == lane.SendNext {
			part.behind = p.cfg.Trace != nil
			p.route(part)
		}
	case lane.Resend:
		p.metrics.retries.Inc()
		p.retry(part, o.Err)
	case lane.Renew:
		p.metrics.retries.Inc()
		p.renew(part, o.Err)
	case lane.Reject:
		var bad *record.BadEvent
		var of uint64
		head.Each(func(_ int, r recordbatch.Raw, tx uint64) { bad, of = record.BadRecord(part.topic.name, r, o.Err), tx })
		p.rejected(of, bad)
	}
}

// acked reports a batch that is in the log.
func (p *Producer) acked(part *partition, b *lane.Batch) {
	p.reports.RLock()
	defer p.reports.RUnlock()
	if p.silent {
		return
	}
	part.topic.published.Add(float64(b.Count()))
	part.topic.bytes.Add(float64(len(b.Wire())))
	p.metrics.connected.Set(1)
	p.acks.Acked(b.Runs(), b.Held())
	p.pool.Put(b)
}

// retry has the lane's head sent again, after a pause that grows, to the broker that leads the partition then. Who that is, is asked only
// where the error may mean that it is another one.
func (p *Producer) retry(part *partition, err error) {
	failures, since := part.lane.Failing()
	part.topic.warn(p, part, since, err)
	var look <-chan struct{}
	if kafkaerror.Elsewhere(err) {
		look = p.look(part.topic)
	}
	p.resends.add(part, pauseAfter(failures), look, false)
}

// renew has the lane take a new producer id. What may be in the log already is then sent a second time: a duplicate, never a gap.
func (p *Producer) renew(part *partition, err error) {
	part.topic.warnRenewal(p, part, err)
	// A partition that takes no identity at all must not be offered one after the other without a pause.
	pause := time.Duration(0)
	if failures, _ := part.lane.Failing(); failures > 1 {
		pause = pauseAfter(failures)
	}
	p.resends.add(part, pause, nil, true)
}
