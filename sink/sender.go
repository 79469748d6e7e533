package sink

import (
	"errors"
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
	p      *Producer
	broker *sarama.Broker

	// The loop's, which alone opens and closes the connection.
	encoder  *recordbatch.Encoder
	greeting wire.Greeting // of the connection
	greeted  bool          // there is one

	mu         sync.Mutex // innermost, see Producer.mu
	cond       *sync.Cond
	ready      []*partition          // queued
	skipLinger bool                  // what is ready does not wait for the linger any more
	timerRuns  bool                  // the linger's timer runs
	requests   map[*request]struct{} // under way
	holds      int                   // while it is above 0, lanes are being queued together and no request leaves
	lastSent   time.Time             // when the last request was sent
	takes      time.Duration         // how long requests take, see gap
	conn       int                   // number of the connection
	broken     bool                  // it failed: the loop closes it
	closed     bool
}

// request is a produce request under way.
type request struct {
	sent  time.Time
	conn  int
	parts []part
	trace *requestTrace // nil: it is not traced
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
	linger := time.Duration(s.p.linger.Load())
	if linger = max(linger, s.gap(time.Now())); s.skipLinger || full {
		linger = 0
	}
	s.traceQueue(part, linger)
	if linger > 0 {
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

// release ends a hold. With full, or with urgent once the gap has passed, what is queued does not wait for the linger any more.
func (s *sender) release(full, urgent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds--
	s.skipLinger = s.skipLinger || full || urgent && s.gap(time.Now()) == 0
	if s.holds == 0 {
		s.cond.Signal() // also for a request that waits for its turn
	}
}

// endLinger lets what is ready go. The linger's timer calls it.
func (s *sender) endLinger() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timerRuns = false
	if len(s.ready) == 0 {
		return // it went with a full batch
	}
	if gap := s.gap(time.Now()); gap > 0 { // a request has left since the timer was started
		s.timerRuns = true
		time.AfterFunc(gap, s.endLinger)
		return
	}
	s.skipLinger = true
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
	for _, part := range left {
		s.p.resends.add(part, 0, nil, false)
	}
}

// run sends requests until the sender is closed.
func (s *sender) run() {
	defer func() { _ = s.broker.Close() }() // which waits for the answers that are under way
	for {
		queue, closed := s.wait()
		if closed {
			return
		}
		err := s.connect()
		for len(queue) > 0 {
			r := &request{trace: s.traceRequest()}
			size := 0
			for len(queue) > 0 && (size == 0 || size < maxRequest) {
				next := queue[0]
				queue = queue[1:]
				b, failed := next.lane.Take(s, s.encoder, s.greeting.Cluster)
				if err != nil {
					failed = err
				}
				if b != nil && failed != nil {
					s.p.finish(next, b, lane.Outcome{Err: failed, Named: -1})
				} else if b != nil {
					r.parts = append(r.parts, part{next, b})
					r.trace.add(next, b)
					size += len(b.Wire())
				}
			}
			if len(r.parts) > 0 {
				s.send(r)
			}
		}
	}
}

// wait returns the partitions of the next requests. A connection that failed is closed meanwhile.
func (s *sender) wait() (queue []*partition, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for (len(s.ready) == 0 || !s.skipLinger || s.holds > 0 || len(s.requests) >= wire.MaxOpenRequests) && !s.closed {
		if s.broken {
			s.mu.Unlock()
			s.disconnect()
			s.mu.Lock()
			continue
		}
		if len(s.ready) == 0 {
			s.skipLinger = false
		}
		s.cond.Wait()
	}
	if s.closed {
		return nil, true
	}
	queue = s.ready
	s.ready, s.skipLinger = nil, false
	return queue, false
}

// disconnect closes a connection that failed. Its requests have failed with it.
func (s *sender) disconnect() {
	_ = s.broker.Close()
	s.greeted = false
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = false
}

// connect makes sure that there is a connection which has greeted us: whatever stands behind the broker's address by now, it takes our
// requests, and is known to be of the cluster that gave the producer ids, or not. An error means that nothing was sent.
func (s *sender) connect() error {
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if broken {
		s.disconnect()
	}
	if s.greeted {
		return nil
	}
	err := s.broker.Open(s.p.brokerConfig())
	if err == nil || errors.Is(err, sarama.ErrAlreadyConnected) {
		_, err = s.broker.Connected() // it waits for the opening
	}
	if err == nil {
		s.greeting, err = wire.Greet(s.broker, false)
	}
	if err != nil {
		_ = s.broker.Close()
		s.p.metrics.connected.Set(0)
		s.p.metrics.reconnects.Inc()
		return wire.Unsent(err)
	}
	s.greeted = true
	return nil
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
	broken := s.broken
	r.sent, r.conn = time.Now(), s.conn
	s.lastSent = r.sent
	r.trace.sent(r.sent, len(s.requests))
	s.requests[r] = struct{}{}
	s.mu.Unlock()
	s.p.work.Add(1) // so that Close returns when all has been reported; the loop that calls this counts itself, so Wait is not over

	parts := make([]wire.Part, len(r.parts))
	for i, p := range r.parts {
		parts[i] = wire.Part{Topic: p.partition.topic.name, Partition: p.partition.index, Batch: p.batch.Wire()}
	}
	err := error(nil)
	if broken { // what stands behind the address now may be another cluster
		err = wire.Unsent(sarama.ErrNotConnected)
	} else {
		err = s.p.splicer.Produce(s.broker, s.greeting, parts, func(answers []wire.Answer, err error) { s.answered(r, answers, err) })
	}
	r.trace.written()
	if err != nil {
		s.answered(r, nil, err)
	}
}

// answered hands the outcomes of a request to its partitions. It may run in sarama's receiving goroutine, so it must not call the broker.
func (s *sender) answered(r *request, answers []wire.Answer, err error) {
	defer s.p.work.Done()
	r.trace.answered(err)
	defer r.trace.settled()
	s.mu.Lock()
	delete(s.requests, r)
	if err == nil {
		s.took(time.Since(r.sent))
	}
	// All requests of a connection fail with it. Only the first of them says so: by the second, there may be a new one.
	broken := err != nil && r.conn == s.conn
	if broken {
		s.conn++
		s.broken = true
	}
	s.holds++
	s.mu.Unlock()
	defer s.release(false, false)
	if broken {
		s.p.metrics.connected.Set(0)
		s.p.metrics.reconnects.Inc()
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
