package sink

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/reason"
	"walpost/schema"
	"walpost/sink/lane"
	"walpost/sink/metadata"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// Producer publishes to Kafka. [Kafka.Open] makes it. Publish and Flush belong to one goroutine; Close may be called from any.
type Producer struct {
	cfg          *Config
	log          *slog.Logger
	metrics      *sinkMetrics
	acks         Acks
	parking      Parking // nil: events that can never be records are rejected
	splicer      *wire.Splicer
	connect      *sarama.Config // configuration for connections to brokers, see brokerConfig
	meta         *metadata.Cache
	resends      resends
	ids          identities
	pool         lane.Pool
	confirmFewer time.Duration            // how long brokers have to report too few partitions before that is believed
	refreshEvery time.Duration            // how often topics are refreshed without a reason
	judgeEvery   time.Duration            // how often topics are judged that take no records
	blockedAfter time.Duration            // the longest time after which such a topic is blocked
	flow         time.Duration            // how long a batch that is not full waits while more events are coming
	lonePause    time.Duration            // see sender_hangups.go
	forgetAfter  time.Duration            // how long a topic may go without events before it is forgotten
	linger       atomic.Int64             // how long a batch that is not full waits now, in nanoseconds
	registered   sync.Once                // makes the producer known to status and metrics
	silentTopics atomic.Pointer[[]*topic] // topics that may be forgotten; nil: none

	// Only the publishing goroutine uses these.
	composer *record.Composer
	topics   map[string]*topic
	name     []byte       // scratch space for a topic's name
	last     *topic       // topic of the previous event
	dirty    []*topic     // topics that hold events of this pass
	entered  []*partition // partitions that have events of this pass
	held     []*sender
	refused  []*schema.DeadLetter // events of this pass that can be no records

	ctx    context.Context // done once closed
	cancel context.CancelFunc
	work   sync.WaitGroup

	creating sync.Mutex // one goroutine makes a topic; outermost

	reports sync.RWMutex // read-locked during a report; see mu
	silent  bool         // Close was called, so nothing is reported any more; guarded by reports

	// mu guards the fields below it.
	//
	// A goroutine that holds a lock of the sink takes another one only if an arrow leads from the first to the second:
	//
	//	topic.mu ─┬─▶ reports
	//	          ├─▶ a lane's
	//	          └─▶ Producer.mu ──▶ sender.mu ──▶ resends.mu
	//	                  ▲
	//	sinkMetrics.mu ───┘
	//
	// The locks of resends, identities, warnings and package metadata are innermost: a goroutine that holds one of them takes no other. The locks
	// of packages wire and auth are independent: they are never taken together with a lock of this package. No goroutine holds a lock of this
	// package while it waits for a broker. sarama calls the splicer with a broker's lock held. So this package never calls sarama with a lock of
	// its own held, except for a broker's ID and Addr, which take no lock. The methods of Acks and Parking may be called with topic.mu held;
	// Acks.Acked is so only for events that are not sent. The function flow of Resume is called with topic.mu and a lane's lock held. creating is
	// outermost: no lock of the sink is held when it is taken.
	mu      sync.Mutex
	senders map[int32]*sender
	known   map[string]*topic // the same topics as in topics
}

// newProducer returns a producer without a producer id. It sends no request by itself until events come. Closing the producer closes ask
// too, if ask has a Close method.
func newProducer(cfg *Config, log *slog.Logger, m *sinkMetrics, acks Acks, s *wire.Splicer, connect *sarama.Config, ask metadata.Asker) *Producer {
	p := &Producer{cfg: cfg, log: log, metrics: m, acks: acks, splicer: s, connect: connect, confirmFewer: confirmFewerFor, refreshEvery: refreshTopicsEvery,
		judgeEvery: judgeEvery, blockedAfter: leaderlessAfter, flow: flowLinger, forgetAfter: forgetAfter, lonePause: lonePause, topics: map[string]*topic{}, senders: map[int32]*sender{}, known: map[string]*topic{}}
	p.parking, _ = acks.(Parking)
	p.composer = record.NewComposer(cfg.Record, p.reservedHeader())
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.resends.p, p.resends.began, p.resends.wake, p.ids.p = p, time.Now(), make(chan struct{}, 1), p
	p.meta = metadata.New(ask, func(topics []string) {
		p.refreshed(topics)
		p.resends.poke()
	})
	p.start(p.resends.run)
	if p.parking != nil && cfg.Budget > 0 {
		p.start(p.judgeTopics)
	}
	p.start(func() {
		p.meta.Run(p.ctx)
		if c, ok := ask.(interface{ Close() }); ok {
			c.Close()
		}
	})
	return p
}

// brokerConfig returns a new configuration for a connection to a broker. Each broker needs its own copy, because sarama writes into it.
func (p *Producer) brokerConfig() *sarama.Config {
	c := *p.connect
	return &c
}

// reservedHeader returns a function that warns once about each reserved name in the headers column, for the first hundred names.
func (p *Producer) reservedHeader() func(string) {
	warned := map[string]bool{}
	return func(name string) {
		p.metrics.reserved.Inc()
		if !warned[name] && len(warned) < 100 {
			warned[name] = true
			p.log.Warn("a header of the outbox row is left out: its name is reserved", "header", name)
		}
	}
}

// Publish encodes ev into the batch of its partition. tx is the transaction under which it is acked. Publish returns the number of bytes
// that the event holds until then. An error is a [*record.BadEvent]: this event can never be a record, and the sink does not park. Then the
// sink keeps nothing of it and reports nothing.
//
// The event waits for Flush. Publish blocks only on a lane's lock, which is never held for long.
func (p *Producer) Publish(ev *schema.Event, tx uint64) (int, error) {
	t, err := p.topicOf(ev)
	if err != nil {
		return p.refuse(ev, tx, string(p.name), record.BadTopic(ev, p.name, err))
	}
	rec, err := p.composer.Compose(ev)
	if err != nil {
		return p.refuse(ev, tx, t.name, record.BadRow(ev, t.name, err))
	}
	where, err := record.PlaceOf(ev)
	if err != nil {
		return p.refuse(ev, tx, t.name, record.BadRow(ev, t.name, err))
	}
	size := rec.Size()
	if size > maxRecord {
		return p.refuse(ev, tx, t.name, record.TooLarge(ev, t.name, size, maxRecord))
	}
	partitions, n, from := t.partitions.Load(), where.Partition, lane.Origin{Tx: tx, At: ev.Position, Type: p.typeBeside(ev.TypeOrAggregate())}
	if partitions == nil || len(t.staged) > 0 || int(n) >= len(*partitions) {
		return p.hold(t, rec, size, n, from), nil
	}
	if n < 0 {
		n = p.cfg.Partitioner.Partition(where.Key, int32(len(*partitions)))
	}
	part := (*partitions)[n]
	if !part.lane.Entered() {
		if !part.lane.Enter(len(*partitions)) {
			return p.hold(t, rec, size, where.Partition, from), nil
		}
		p.entered = append(p.entered, part)
		// After entering, because the partitions may have been arranged since they were loaded.
		if t.missing.any.Load() {
			return p.hold(t, rec, size, where.Partition, from), nil
		}
	}
	return part.lane.Append(rec, size, int(t.limit.Load()), from, where.Partition >= 0), nil
}

// hold keeps an event until its topic's partitions are known.
func (p *Producer) hold(t *topic, rec *recordbatch.Record, size int, explicit int32, from lane.Origin) int {
	if !t.dirty {
		t.dirty = true
		p.dirty = append(p.dirty, t)
	}
	return t.hold(rec, size, explicit, from)
}

// topicOf returns the event's topic. When it sees a topic for the first time, it begins to ask for its partitions.
func (p *Producer) topicOf(ev *schema.Event) (*topic, error) {
	var err error
	if p.name, err = p.composer.AppendTopic(p.name[:0], ev); err != nil {
		return nil, err
	}
	if p.last != nil && p.last.name == string(p.name) {
		return p.last, nil
	}
	t := p.topics[string(p.name)]
	if t == nil {
		if err := record.CheckTopic(p.name); err != nil {
			return nil, err
		}
		if len(p.topics) >= maxTopics {
			return nil, record.TooManyTopics(maxTopics)
		}
		t = p.topicNamed(string(p.name))
		p.topics[t.name] = t
	}
	p.last = t
	return t, nil
}

// topicNamed returns the topic of that name. If it is new, it begins to ask for its partitions. Any goroutine may call it.
func (p *Producer) topicNamed(name string) *topic {
	p.creating.Lock()
	defer p.creating.Unlock()
	p.mu.Lock()
	t := p.known[name]
	p.mu.Unlock()
	if t != nil {
		return t
	}
	t = &topic{name: name}
	t.limit.Store(p.cfg.batchLimit())
	t.used.Store(time.Now().Unix())
	p.register(t) // before it has metrics: another producer may be about to forget the metrics of that name
	t.published, t.bytes = p.metrics.topic(t.name)
	p.start(func() { t.arrange(p) })
	return t
}

// countRefusal counts an event that can never be a record, unless it was refused before, and is only delivered again.
func (p *Producer) countRefusal(topic string, code reason.Code, from lane.Origin) {
	if p.parking != nil && !p.parking.Refused(from.At, from.Tx) {
		return
	}
	if record.CheckTopic([]byte(topic)) != nil {
		topic = "" // rows can make up names: they must not become labels, and a name that is not UTF-8 would panic
	}
	p.metrics.failed.WithLabelValues(topic, string(code)).Inc()
}

// Flush hands the events that were published since the last Flush to the senders. With flowing, a batch that is not full waits up to 5 ms
// for the events of the next Flush.
func (p *Producer) Flush(flowing bool) {
	now := time.Now()
	p.composer.SetNow(now)
	linger := p.cfg.Linger
	if flowing {
		linger = max(linger, p.flow)
	}
	p.linger.Store(int64(linger))
	if silent := p.silentTopics.Swap(nil); silent != nil {
		p.forget(*silent)
	}
	if len(p.refused) > 0 { // first, so that later events of their keys in this pass wait behind them
		p.park(p.refused)
		p.refused = nil
	}
	if len(p.entered)+len(p.dirty) == 0 {
		return
	}
	anyFull := false
	p.held = p.holdSenders(p.held[:0])
	defer func() {
		for _, s := range p.held {
			s.release(anyFull, linger == 0)
		}
	}()
	// In a lane, events that a topic held come after events that this pass wrote directly. So the lanes end their pass first.
	for _, part := range p.entered {
		route, full := part.lane.HandOver(now)
		part.topic.used.Store(now.Unix())
		anyFull = anyFull || full
		if route {
			p.route(part)
		}
	}
	p.entered = p.entered[:0]
	for _, t := range p.dirty {
		t.handOver(p, now)
	}
	p.dirty = p.dirty[:0]
}

// holdSenders stops all senders from sending until each one is released, and appends them to held.
func (p *Producer) holdSenders(held []*sender) []*sender {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.senders {
		s.hold()
		held = append(held, s)
	}
	return held
}

// Close stops sending and closes the connections. Events that are not acked by then are never reported. Close waits for a report that is
// under way, but not for a broker or a token issuer. It always returns nil.
func (p *Producer) Close() error {
	p.cancel()
	p.mu.Lock()
	for _, s := range p.senders {
		s.close()
	}
	p.mu.Unlock()
	p.splicer.Close() // first, so that nothing below waits for a broker
	p.reports.Lock()
	p.silent = true
	p.reports.Unlock()
	p.metrics.removeProducer(p)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.work.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(closeWait):
		// sarama waits for the end of a throttle with the broker's lock held, and nothing can interrupt that. Goroutines that still run
		// then end with the throttle, and report nothing.
	}
	return nil
}

// rejected reports a published event that can never be a record.
func (p *Producer) rejected(from lane.Origin, e *record.BadEvent) {
	p.report(func() {
		p.countRefusal(e.Topic, e.Code, from)
		p.acks.Rejected(from.Tx, e)
	})
}

// report calls f, which reports something, unless the producer is closed.
func (p *Producer) report(f func()) {
	p.reports.RLock()
	defer p.reports.RUnlock()
	if !p.silent {
		f()
	}
}

// start runs f in a goroutine of its own unless the producer is closed.
func (p *Producer) start(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() == nil {
		p.work.Go(f)
	}
}
