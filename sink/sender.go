package sink

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/lane"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// sender sends the batches of the partitions that one broker leads. Their lanes queue with it. Those that are queued when a request can go
// share it.
type sender struct {
	p       *Producer
	broker  *sarama.Broker
	encoder *recordbatch.Encoder // the loop's

	mu         sync.Mutex // innermost, see Producer.mu
	cond       *sync.Cond
	ready      []*partition          // queued
	skipLinger bool                  // what is ready does not wait for the linger any more
	timerRuns  bool                  // the linger's timer runs
	requests   map[*request]struct{} // under way
	holds      int                   // while it is above 0, lanes are being queued together and no request leaves
	conn       int                   // number of the connection; each that failed is closed once
	closed     bool
}

// request is a produce request under way.
type request struct {
	sent  time.Time
	conn  int
	parts []part
}

// part is a partition's batch in a request.
type part struct {
	partition *partition
	batch     *lane.Batch
}

func newSender(p *Producer, b *sarama.Broker) *sender {
	encoder, err := recordbatch.NewEncoder(p.cfg.Codec)
	if err != nil {
		panic(err) // NewKafka has made one of the same kind
	}
	s := &sender{p: p, broker: b, encoder: encoder, requests: map[*request]struct{}{}}
	s.cond = sync.NewCond(&s.mu)
	p.work.Go(s.run)
	p.work.Go(s.watch)
	return s
}

// Addr returns the broker's address.
func (s *sender) Addr() string { return s.broker.Addr() }

// push queues a partition's lane, which waits for the linger unless it has a full batch. It returns false when the sender is closed.
func (s *sender) push(part *partition, full bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.ready = append(s.ready, part)
	if linger := time.Duration(s.p.linger.Load()); linger > 0 && !s.skipLinger && !full {
		// The linger belongs to the broker, so that its lanes share requests: one timer for all, and whoever comes first starts it.
		if !s.timerRuns {
			s.timerRuns = true
			time.AfterFunc(linger, s.endLinger)
		}
		return true
	}
	s.skipLinger = true
	if s.holds == 0 {
		s.cond.Signal()
	}
	return true
}

// hold keeps requests back until release, so that lanes that are queued one by one share a request. A request of its own for the first of
// them would cost two threads a wake-up, and the broker as much as the one for all the others.
func (s *sender) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds++
}

// release ends a hold. With urgent, what is queued does not wait for the linger any more.
func (s *sender) release(urgent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds--
	s.skipLinger = s.skipLinger || urgent
	if s.holds == 0 {
		s.cond.Signal() // also for a request that waits for its turn
	}
}

// endLinger lets what is ready go. The linger's timer calls it.
func (s *sender) endLinger() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timerRuns, s.skipLinger = false, true
	s.cond.Signal()
}

// close ends the sender and sends its queue elsewhere.
func (s *sender) close() {
	s.mu.Lock()
	s.closed = true
	left := s.ready
	s.ready = nil
	s.mu.Unlock()
	s.cond.Broadcast()
	if s.p.ctx.Err() == nil {
		for _, part := range left {
			s.p.work.Go(func() { s.p.findLeader(part) }) // p.mu is held, so the producer is open
		}
	}
}

// run sends requests until the sender is closed.
func (s *sender) run() {
	for {
		queue := s.wait()
		if queue == nil {
			return
		}
		for len(queue) > 0 {
			r := &request{}
			size := 0
			for len(queue) > 0 && (size == 0 || size < maxRequest) {
				next := queue[0]
				queue = queue[1:]
				b, err := next.lane.Take(s, s.encoder)
				if err != nil {
					s.p.finish(next, b, lane.Outcome{Err: err, Named: -1})
				} else if b != nil {
					r.parts = append(r.parts, part{next, b})
					size += len(b.Wire())
				}
			}
			if len(r.parts) > 0 {
				s.send(r)
			}
		}
	}
}

// wait returns the partitions of the next requests, nil once the sender is closed.
func (s *sender) wait() []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	for (len(s.ready) == 0 || !s.skipLinger || s.holds > 0 || len(s.requests) >= wire.MaxOpenRequests) && !s.closed {
		if len(s.ready) == 0 {
			s.skipLinger = false
		}
		s.cond.Wait()
	}
	if s.closed {
		return nil
	}
	queue := s.ready
	s.ready, s.skipLinger = nil, false
	return queue
}

// send sends one request. Its parts of one topic are put together, as a request has them. answered is called in a goroutine of sarama's, or
// here when the request could not be sent.
func (s *sender) send(r *request) {
	slices.SortStableFunc(r.parts, func(a, b part) int { return strings.Compare(a.partition.topic.name, b.partition.topic.name) })
	s.mu.Lock()
	// Were AsyncProduce to wait for a free place, it would do so with the broker locked, and nobody could close a stuck connection.
	for len(s.requests) >= wire.MaxOpenRequests && !s.closed {
		s.cond.Wait()
	}
	r.sent, r.conn = time.Now(), s.conn
	s.requests[r] = struct{}{}
	s.mu.Unlock()
	s.p.work.Add(1) // so that Close returns when all has been reported; the loop that calls this counts itself, so Wait is not over

	parts := make([]wire.Part, len(r.parts))
	for i, p := range r.parts {
		parts[i] = wire.Part{Topic: p.partition.topic.name, Partition: p.partition.index, Batch: p.batch.Wire()}
	}
	err := s.p.splicer.Produce(s.broker, parts, func(answers []wire.Answer, err error) { s.answered(r, answers, err) })
	if err != nil {
		s.answered(r, nil, err)
	}
}

// answered hands the outcomes of a request to its partitions. It may run in sarama's receiving goroutine, so it must not call the broker.
func (s *sender) answered(r *request, answers []wire.Answer, err error) {
	defer s.p.work.Done()
	s.mu.Lock()
	delete(s.requests, r)
	// All requests of a connection fail with it. Only the first of them may close it: by the second, it may have been made anew.
	broken := err != nil && r.conn == s.conn
	if broken {
		s.conn++
	}
	s.holds++
	s.mu.Unlock()
	defer s.release(false)
	if broken {
		s.p.metrics.connected.Set(0)
		s.p.metrics.reconnects.Inc()
		s.p.start(func() { _ = s.broker.Close() }) // the next look-up of a leader opens it again
	}
	if err == nil {
		s.p.metrics.duration.Observe(time.Since(r.sent).Seconds())
	}
	for i, part := range r.parts {
		o := lane.Outcome{Err: err, Named: -1}
		if err == nil {
			o = lane.Outcome(answers[i])
		}
		s.p.finish(part.partition, part.batch, o)
	}
}

// stuck returns the partitions of requests that have waited for too long.
func (s *sender) stuck() (partitions []*partition, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.requests {
		if time.Since(r.sent) > stuckAfter {
			for _, part := range r.parts {
				partitions = append(partitions, part.partition)
			}
		}
	}
	return partitions, s.closed
}
