package sink

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/reason"
	"walpost/sink/kafkaerror"
	"walpost/sink/lane"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// partition joins the lane of a partition with what the lane does not know: its topic, its number, and when somebody was last warned.
type partition struct {
	lane   *lane.Lane
	topic  *topic
	index  int32
	warned time.Time // when a wait was last logged; the lane's driver's
}

// giveBack empties the lane of a partition that is no more. The lane is at rest, so it has no driver.
func (part *partition) giveBack() []*unplaced {
	part.warned = time.Time{}
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
		p.start(func() { p.findLeader(part) })
	}
}

// backoff returns the pauses of the lane's driver.
func (part *partition) backoff(p *Producer, since time.Time, tries int) *backoff {
	return &backoff{p: p, what: fmt.Sprintf("partition %d of topic %s", part.index, part.topic.name), topic: part.topic.name, since: since, tries: tries, warned: &part.warned}
}

// findLeader hands a queued lane to the sender of the broker that leads its partition, however long it takes to find that.
func (p *Producer) findLeader(part *partition) {
	wait := part.backoff(p, time.Now(), 0)
	for !part.lane.StopIfGone() {
		b, err := p.client.Leader(part.topic.name, part.index)
		if err == nil {
			if s := p.senderOf(b); s != nil {
				part.lane.SetSender(s)
				if s.push(part, true) {
					return
				}
			}
		}
		if !wait.pause(err) {
			return
		}
		p.refresh(part.topic)
	}
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
	if o.Class() == kafkaerror.Done {
		part.warned = time.Time{} // before Settle, after which somebody else may drive the lane
	}
	next, head := part.lane.Settle(o)
	switch next {
	case lane.Empty, lane.SendNext:
		if head != nil {
			p.acked(part, head)
		} else if kafkaerror.Reason(o.Err) == reason.MessageTooLarge {
			p.start(func() { part.topic.shrink(p, size) })
		}
		if next == lane.SendNext {
			p.route(part)
		}
	case lane.Resend:
		p.metrics.retries.Inc()
		p.start(func() { p.retry(part, o.Err) })
	case lane.Renew:
		p.metrics.retries.Inc()
		p.start(func() { p.renew(part, o.Err) })
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

// retry sends the lane's head again, after a pause that grows, to the broker that leads the partition then.
func (p *Producer) retry(part *partition, err error) {
	failures, since := part.lane.Failing()
	wait := part.backoff(p, since, failures-1)
	if !wait.pause(err) {
		return
	}
	p.refresh(part.topic)
	p.findLeader(part)
}

// refresh asks for a topic's leaders, and makes sure that its partitions are still those that its events go to.
func (p *Producer) refresh(t *topic) {
	_ = p.client.RefreshMetadata(t.name) // Leader and Partitions tell what came of it
	t.checkCount(p)
}

// renew gives the lane a new producer id. What may be in the log already is then sent a second time: a duplicate, never a gap.
func (p *Producer) renew(part *partition, err error) {
	p.log.Warn("taking a new producer id for a partition: what was under way may arrive twice",
		"topic", part.topic.name, "partition", part.index, "err", err)
	failures, since := part.lane.Failing()
	wait := part.backoff(p, since, failures-1)
	// A partition that takes no identity at all must not be offered one after the other without a pause.
	if failures > 1 && !wait.pause(err) {
		return
	}
	for {
		id, err := p.newIdentity(p.ctx)
		if err == nil {
			part.lane.Renumber(id)
			p.findLeader(part)
			return
		}
		// Later than at the start a login that is refused is waited out: passwords are rotated while relays run.
		if !wait.pause(err) {
			return
		}
	}
}
