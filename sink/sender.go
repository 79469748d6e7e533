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

// sender sends the batches of the partitions that one broker leads. Lanes queue at the sender. All lanes that are queued when a request can
// leave share that request.
type sender struct {
	p      *Producer
	broker *sarama.Broker

	// Only the loop uses these. It alone makes and closes the connection.
	encoder *recordbatch.Encoder
	link    *wire.Link // nil: not connected

	empty wire.Size     // size of a request without parts
	wake  chan struct{} // tells the loop to check again
	timer *time.Timer   // the same, when the linger ends
	woken chan struct{} // tells runApart that its queue or due times have changed, or that the sender is closed

	mu         sync.Mutex            // innermost, see Producer.mu
	ready      []*partition          // queued lanes
	skipLinger bool                  // ready does not wait for the linger any more; false while ready is empty
	lingerEnds time.Time             // when the linger ends; zero: it has not begun
	sending    bool                  // the loop has a request that waits until it may leave
	requests   map[*request]struct{} // under way
	holds      int                   // while it is above 0, lanes are being queued together and no request leaves
	lastSent   time.Time             // when the last request was sent
	conn       int                   // number of the connection
	broken     bool                  // the connection failed: the loop closes it
	closed     bool
	ended      bool          // the loop has ended: only lanes that are sent apart are still sent
	connecting attention     // the lanes for which the loop is connecting
	apartNow   attention     // the lane that is being sent apart
	hangUps    hangUps       // see sender_hangups.go
	apart      []*apartEntry // lanes to be sent apart, see sender_apart.go
	apartRuns  bool          // runApart is running
}

// request is a produce request under way.
type request struct {
	sent  time.Time
	conn  int
	parts []part
	size  wire.Size
	alone bool          // it has one part, and no other request is under way
	trace *requestTrace // nil: it is not traced
}

// attention is a set of lanes that wait for the broker, and since when.
type attention struct {
	parts []*partition // nil: nothing waits
	since time.Time
}

// attend notes that parts wait for the broker from now on; nil: nothing waits.
func (s *sender) attend(a *attention, parts []*partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*a = attention{parts, time.Now()}
}

// part is a partition's batch in a request.
type part struct {
	partition *partition
	batch     *lane.Batch
}

func newSender(p *Producer, b *sarama.Broker) *sender {
	encoder, err := recordbatch.NewEncoder(p.cfg.Codec)
	if err != nil {
		panic(err) // NewKafka has already made an encoder of this kind
	}
	s := &sender{p: p, broker: b, encoder: encoder, empty: wire.NewSize(p.cfg.ClientID), wake: make(chan struct{}, 1), woken: make(chan struct{}, 1), requests: map[*request]struct{}{}}
	if before := p.senders[b.ID()]; before != nil { // p.mu is held
		s.hangUps = before.inherited()
	}
	s.timer = time.NewTimer(time.Hour)
	s.timer.Stop()
	p.work.Go(s.run)
	p.work.Go(s.watch)
	return s
}

// Addr returns the broker's address.
func (s *sender) Addr() string { return s.broker.Addr() }

// push queues a partition's lane. The lane waits for the linger unless it has a full batch. push returns false if the sender is closed.
func (s *sender) push(part *partition, full bool) bool {
	if part.apart != nil {
		return s.pushApart(part, nil, "")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.ready = append(s.ready, part)
	linger := time.Duration(s.p.linger.Load())
	if linger = max(linger, s.patience(time.Now())); s.skipLinger || full {
		linger = 0
	}
	s.traceQueue(part, linger)
	if linger > 0 {
		s.lingerFor(linger)
		return true
	}
	s.skipLinger = true
	s.wakeIfDue()
	return true
}

// hold stops requests from leaving until release, so that lanes that are queued one after the other share a request. Otherwise the first
// lane would get a request of its own. That would cost two threads a wake-up, and cost the broker as much as the request for all the
// others.
func (s *sender) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds++
}

// release ends a hold. With full, queued lanes do not wait for the linger any more. With urgent, the same applies once the gap has passed.
func (s *sender) release(full, urgent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds--
	if len(s.ready) > 0 {
		if patience := s.patience(time.Now()); full || urgent && patience == 0 {
			s.skipLinger = true
		} else if urgent {
			s.lingerFor(patience)
		}
	}
	s.wakeIfDue()
}

// lingerFor lets the ready lanes leave after d, or earlier if they would have left by then. The linger belongs to the broker, so that its
// lanes share requests: there is one timer for all lanes, and it wakes the loop. s.mu is held.
func (s *sender) lingerFor(d time.Duration) {
	ends := time.Now().Add(d)
	if s.lingerEnds.IsZero() || ends.Before(s.lingerEnds) {
		s.lingerEnds = ends
		s.timer.Reset(d)
	}
}

// due reports whether the linger of the ready lanes is over. s.mu is held.
func (s *sender) due() bool {
	if now := time.Now(); !s.skipLinger && !s.lingerEnds.IsZero() && !now.Before(s.lingerEnds) {
		s.lingerEnds = time.Time{}
		if patience := s.patience(now); patience > 0 { // a request has left since the timer was set
			s.lingerFor(patience)
			return false
		}
		s.skipLinger = true
	}
	return s.skipLinger
}

// wakeIfDue wakes the loop if it has something to do, and only then: each wake-up costs an operating system thread about as much as an
// event does. s.mu is held.
func (s *sender) wakeIfDue() {
	if s.closed || s.broken || s.holds == 0 && (s.sending || s.skipLinger) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// sleep waits for the loop to be woken. s.mu is held before and after.
func (s *sender) sleep() {
	s.mu.Unlock()
	select {
	case <-s.wake:
	case <-s.timer.C:
	}
	s.mu.Lock()
}

// close closes the sender, and hands its queued lanes to resends, which find their new leader.
func (s *sender) close() {
	s.mu.Lock()
	s.closed = true
	left := s.ready
	s.ready = nil
	s.skipLinger = false
	s.wakeIfDue()
	s.mu.Unlock()
	s.wakeApart()
	for _, part := range left {
		s.p.resends.add(part, 0, nil, false)
	}
}

// run sends requests until the sender is closed.
func (s *sender) run() {
	defer s.end()
	var kept part // a part that did not fit into the last request: it comes first in the next one
	for {
		queue, closed := s.wait()
		if closed {
			return
		}
		err := s.connect(queue)
		for len(queue) > 0 || kept.batch != nil {
			var r *request
			if r, queue, kept = s.gather(queue, kept, err); len(r.parts) > 0 {
				s.send(r)
			}
		}
	}
}

// end closes the connection, which ends the requests under way, and notes that the loop has ended.
func (s *sender) end() {
	s.disconnect()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// gather builds the next request. It takes kept first, if there is one, and then the batches of the lanes at the head of the queue, as long
// as they fit. It returns the rest of the queue, and the part that did not fit. The lane's batch of that part is already taken, because its
// size is known only once it is sealed. If failed is the error of connecting, gather settles each batch that it takes with that error.
func (s *sender) gather(queue []*partition, kept part, failed error) (*request, []*partition, part) {
	r := &request{size: s.empty, trace: s.traceRequest()}
	b := s.bounds()
	for len(queue) > 0 || kept.batch != nil {
		next := kept
		if kept = (part{}); next.batch == nil {
			if len(r.parts) > 0 && r.size.Bytes() >= b.request {
				break
			}
			next.partition, queue = queue[0], queue[1:]
			var err error
			next.batch, err = next.partition.lane.Take(s, s.encoder, s.cluster())
			if next.batch == nil {
				continue
			}
			if failed != nil {
				err = failed
			}
			if err != nil {
				s.p.finish(next.partition, next.batch, lane.Outcome{Err: err})
				continue
			}
		}
		topic, length := next.partition.topic.name, len(next.batch.Wire())
		if s.empty.With(topic, length).Bytes() >= b.apart {
			s.setApart(next)
			continue
		}
		size := r.size.With(topic, length)
		if len(r.parts) > 0 && size.Bytes() > b.request {
			return r, queue, next
		}
		r.parts, r.size = append(r.parts, next), size
		r.trace.add(next.partition, next.batch)
		if b.narrow {
			break
		}
	}
	return r, queue, part{}
}

// wait returns the partitions of the next requests. Meanwhile it closes a connection that failed.
func (s *sender) wait() (queue []*partition, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed {
		switch {
		case s.broken:
			s.mu.Unlock()
			s.disconnect()
			s.mu.Lock()
		case len(s.ready) > 0 && s.due() && s.holds == 0 && !s.full():
			queue = s.ready
			s.ready, s.skipLinger, s.lingerEnds = nil, false, time.Time{}
			s.timer.Stop()
			s.lastSent = time.Now() // they are sent in a moment: lanes that are pushed until then wait for the next request
			if s.hangUps.narrow(s.lastSent) {
				s.hangUps.order(queue)
			}
			return queue, false
		default:
			s.sleep()
		}
	}
	return nil, true
}

// full reports whether the maximum number of requests is under way. s.mu is held.
func (s *sender) full() bool {
	if s.hangUps.narrow(time.Now()) {
		return len(s.requests) > 0
	}
	return len(s.requests) >= wire.MaxOpenRequests
}

// disconnect closes the connection, if there is one. If it failed, its requests have failed with it.
func (s *sender) disconnect() {
	if s.link != nil {
		s.link.Close()
	}
	s.link = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = false
}

// connect makes sure that there is a connection. The broker behind the address may have been replaced, so each new connection checks two
// things: that the broker accepts our requests, and which cluster it belongs to, as far as it tells. An error means that nothing was sent.
// waiting are the lanes to be sent.
func (s *sender) connect(waiting []*partition) error {
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if broken {
		s.disconnect()
	}
	if s.link != nil {
		return nil
	}
	s.attend(&s.connecting, waiting)
	link, err := s.p.splicer.Link(s.Addr(), s.p.brokerConfig())
	s.attend(&s.connecting, nil)
	if err != nil {
		s.p.metrics.connected.Set(0)
		s.p.metrics.reconnects.Inc()
		return err
	}
	s.link = link
	return nil
}

// cluster returns the id of the connected cluster.
func (s *sender) cluster() string {
	if s.link == nil {
		return ""
	}
	return s.link.Cluster
}

// send sends one request. It sorts the parts by topic, as a request needs them. answered is called in a goroutine of sarama's, or here if
// the request could not be sent.
func (s *sender) send(r *request) {
	slices.SortStableFunc(r.parts, func(a, b part) int { return strings.Compare(a.partition.topic.name, b.partition.topic.name) })
	s.mu.Lock()
	// AsyncProduce must not wait for a free slot: it would wait with the broker locked, and then nobody could close a stuck connection.
	for s.full() && !s.closed {
		s.sending = true
		s.sleep()
	}
	s.sending = false
	broken := s.broken
	r.sent, r.conn = time.Now(), s.conn
	r.alone = len(r.parts) == 1 && len(s.requests) == 0 && s.hangUps.narrow(r.sent)
	r.trace.sent(r.sent, len(s.requests))
	s.requests[r] = struct{}{}
	s.mu.Unlock()
	s.p.work.Add(1) // so that Close returns only after all reports; Wait cannot be over yet, because the loop that runs this counts too

	parts := make([]wire.Part, len(r.parts))
	for i, p := range r.parts {
		parts[i] = wire.Part{Topic: p.partition.topic.name, Partition: p.partition.index, Batch: p.batch.Wire()}
	}
	err := error(nil)
	if broken || s.link == nil { // the broker behind the address may belong to another cluster now
		err = wire.Unsent(sarama.ErrNotConnected)
	} else {
		err = s.link.Produce(parts, func(answers []wire.Answer, err error) { s.answered(r, answers, err) })
	}
	r.trace.written()
	if err != nil {
		s.answered(r, nil, err)
	}
}

// answered passes the outcomes of a request to its partitions. It may run in sarama's receiving goroutine, so it must not call the broker.
func (s *sender) answered(r *request, answers []wire.Answer, err error) {
	defer s.p.work.Done()
	r.trace.answered(err)
	defer r.trace.settled()
	ended := hungUp(err) && time.Since(r.sent) < lateHangUp
	failures := 0
	if ended {
		failures = s.p.splicer.Failures(s.Addr())
	}
	s.mu.Lock()
	delete(s.requests, r)
	// All requests of a connection fail with it. Only the first of them marks the connection as broken: when the second one fails, there
	// may already be a new connection.
	broken := err != nil && r.conn == s.conn && !s.broken
	if broken {
		s.conn++
		s.broken = true
	}
	var found finding
	if ended {
		found = s.hangUps.ended(r, failures, s.p.lonePause, time.Now())
	} else if err == nil {
		found = s.hangUps.answered(r, time.Now())
	}
	s.holds++
	s.mu.Unlock()
	defer s.release(false, false)
	if broken {
		s.p.metrics.connected.Set(0)
		s.p.metrics.reconnects.Inc()
	}
	s.tell(found)
	if found.suspect != nil {
		found.suspect.apart = &apart{left: r.parts[0].batch.Count()}
	}
	if err == nil {
		s.p.metrics.duration.Observe(time.Since(r.sent).Seconds())
	}
	for i, part := range r.parts {
		o := lane.Outcome{Err: err}
		if err == nil {
			o = lane.Outcome(answers[i])
		}
		s.p.finish(part.partition, part.batch, o)
	}
}

// stuck returns the partitions that have waited too long for the broker. over reports that the sender will never wait for the broker again.
func (s *sender) stuck() (partitions []*partition, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.requests {
		if time.Since(r.sent) > stuckAfter {
			for _, part := range r.parts {
				partitions = append(partitions, part.partition)
			}
		}
	}
	for _, a := range []attention{s.connecting, s.apartNow} {
		if time.Since(a.since) > stuckAfter {
			partitions = append(partitions, a.parts...)
		}
	}
	return partitions, s.ended && !s.apartRuns && len(s.requests) == 0
}
