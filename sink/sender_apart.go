package sink

import (
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"walpost/internal/reason"
	"walpost/sink/kafkaerror"
	"walpost/sink/lane"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// apart is the state of a lane that is sent apart: one request at a time, each over a new connection. A lane is sent this way if its
// requests have ended their connections, or would, so that the other lanes keep their connection. The state belongs to the lane's driver.
type apart struct {
	left  int32 // events to be acked before the lane is sent with the others again: those of the suspected batch
	cuts  int   // connections in a row that ended on its head although the broker answered a question over another connection each time
	tries int   // the same, counted from the last time that it was divided or answered: for pauses
}

// pause returns how long the lane's next attempt waits.
func (a *apart) pause() time.Duration {
	if a.tries == 0 {
		return 0
	}
	d := min(50*time.Millisecond<<min(a.tries, 16), kafkaerror.ResendCut)
	return d - rand.N(d/4)
}

// apartEntry is a lane that is to be sent apart.
type apartEntry struct {
	part
	cluster string // cluster of the producer id under which the batch was taken, if it was
	due     time.Time
}

// setApart queues a lane to be sent apart, with a batch that is already taken. The loop calls it.
func (s *sender) setApart(p part) {
	p.partition.apart = &apart{left: p.batch.Count()}
	if !s.pushApart(p.partition, p.batch, s.cluster()) {
		s.p.finish(p.partition, p.batch, lane.Outcome{Err: errSenderClosed})
	}
}

// errSenderClosed is the error of a batch that was not sent because its sender was closed.
var errSenderClosed = wire.Unsent(fmt.Errorf("the partition is led by another broker, or at another address, now: %w", net.ErrClosed))

// pushApart queues a lane to be sent apart, together with its batch if that is already taken. It returns false if the sender is closed.
func (s *sender) pushApart(p *partition, taken *lane.Batch, cluster string) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.apart = append(s.apart, &apartEntry{part{p, taken}, cluster, time.Now().Add(p.apart.pause())})
	runs := s.apartRuns
	s.apartRuns = true
	s.mu.Unlock()
	if runs {
		s.wakeApart()
	} else {
		s.p.start(s.runApart)
	}
	return true
}

func (s *sender) wakeApart() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// runApart sends the entries of s.apart, each when it is due, until none is left.
func (s *sender) runApart() {
	encoder, err := recordbatch.NewEncoder(s.p.cfg.Codec)
	if err != nil {
		panic(err) // newSender has already made an encoder of this kind
	}
	for {
		next, wait := s.nextApart()
		switch {
		case next != nil:
			s.sendApart(next, encoder)
		case wait < 0:
			return
		default:
			timer := time.NewTimer(wait)
			select {
			case <-s.p.ctx.Done():
			case <-s.woken:
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// nextApart takes an entry that is due, or returns how long it takes until one is. A negative wait means that no entry is left, and that
// runApart counts as ended.
func (s *sender) nextApart() (due *apartEntry, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.p.ctx.Err() != nil || len(s.apart) == 0 {
		s.apartRuns = false
		return nil, -1
	}
	first, now := 0, time.Now()
	for i, e := range s.apart {
		if e.due.Before(s.apart[first].due) {
			first = i
		}
	}
	next := s.apart[first]
	if next.due.After(now) && !s.closed {
		return nil, next.due.Sub(now)
	}
	s.apart = append(s.apart[:first], s.apart[first+1:]...)
	return next, 0
}

// sendApart sends one batch, waits for its answer, and settles it.
func (s *sender) sendApart(e *apartEntry, encoder *recordbatch.Encoder) {
	p, b := e.partition, e.batch
	s.mu.Lock()
	elsewhere := s.closed
	s.mu.Unlock()
	if leader, err := s.p.meta.Leader(p.topic.name, p.index); err == nil && leader != s.broker {
		elsewhere = true
	}
	if elsewhere {
		if b == nil {
			s.p.resends.add(p, 0, nil, false)
		} else {
			s.p.finish(p, b, lane.Outcome{Err: errSenderClosed})
		}
		return
	}
	s.attend(&s.apartNow, []*partition{p})
	defer s.attend(&s.apartNow, nil)
	link, err := s.p.splicer.Link(s.Addr(), s.p.brokerConfig())
	cluster := e.cluster
	if err == nil {
		defer link.Close()
		cluster = link.Cluster
	}
	var unsealed error
	switch {
	case b == nil:
		if b, unsealed = p.lane.Take(s, encoder, cluster); b == nil {
			return // another sender has the lane, or there is nothing to send
		}
	case e.cluster != cluster:
		unsealed = kafkaerror.ErrOtherCluster
	}
	if err == nil {
		err = unsealed
	}
	if err != nil {
		s.p.finish(p, b, lane.Outcome{Err: err})
		return
	}
	size := s.empty.With(p.topic.name, len(b.Wire())).Bytes()
	began := time.Now()
	answer, err := s.askApart(link, p, b)
	switch {
	case err == nil:
		s.passed(p, b, size, answer)
		s.p.finish(p, b, lane.Outcome(answer))
		return
	case hungUp(err) && time.Since(began) < lateHangUp:
		err = s.cut(p, b, size, err)
	}
	s.p.finish(p, b, lane.Outcome{Err: err})
}

// askApart sends a batch and waits for its answer.
func (s *sender) askApart(link *wire.Link, p *partition, b *lane.Batch) (wire.Answer, error) {
	type result struct {
		answers []wire.Answer
		err     error
	}
	ended := make(chan result, 1)
	parts := []wire.Part{{Topic: p.topic.name, Partition: p.index, Batch: b.Wire()}}
	if err := link.Produce(parts, func(answers []wire.Answer, err error) { ended <- result{answers, err} }); err != nil {
		return wire.Answer{}, err
	}
	r := <-ended
	if r.err != nil {
		return wire.Answer{}, r.err
	}
	return r.answers[0], nil
}

// passed notes that a batch was answered. The lane is sent with the others again once all suspected events were answered, or once the
// broker answered with an error.
func (s *sender) passed(p *partition, b *lane.Batch, size int, answer wire.Answer) {
	a := p.apart
	a.cuts, a.tries = 0, 0
	if a.left -= b.Count(); a.left <= 0 || answer.Err != nil {
		p.apart = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hangUps.bound == 0 || size < s.hangUps.bound {
		return
	}
	// The limit was raised, or there never was one: lanes that wait are tried at once.
	s.hangUps.bound = 0
	for _, e := range s.apart {
		e.due = time.Time{}
	}
}

// cut notes that the connection ended on a batch, and returns the error to settle it with. The request counts as the cause only if this has
// happened before, and if the broker still answers each time.
func (s *sender) cut(p *partition, b *lane.Batch, size int, err error) error {
	a := p.apart
	if !wire.Answers(s.Addr(), s.p.brokerConfig()) {
		a.cuts = 0
		return err
	}
	a.cuts++
	a.tries++
	s.mu.Lock()
	h := &s.hangUps
	known := h.bound > 0 && size >= h.bound
	if known = known || a.cuts >= blameAfter; known && (h.bound == 0 || size < h.bound) {
		h.bound = size
	}
	s.mu.Unlock()
	if !known {
		return err
	}
	cut := &kafkaerror.RequestCut{Broker: s.Addr(), Bytes: size, Events: int(b.Count()), Times: a.cuts, Err: err}
	if b.Count() > 1 {
		length := b.Len()
		a.cuts, a.tries = 0, 0
		s.p.start(func() { p.topic.shrink(s.p, length) })
		return cut
	}
	return s.p.cutEvent(p, b, cut)
}

// cutEvent returns the error of a batch of one event that ends its connection. The broker has not refused the event, so the event waits.
func (p *Producer) cutEvent(part *partition, b *lane.Batch, cut *kafkaerror.RequestCut) (err error) {
	b.Each(func(_ int, r recordbatch.Raw, from lane.Origin) {
		event := record.BadRecord(part.topic.name, r, from.Type, cut)
		event.Code, event.Cure = reason.RequestCut, "" // the code that logs the error adds the cure
		err = fmt.Errorf("partition %d: %w", part.index, event)
	})
	return err
}
