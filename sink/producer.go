package sink

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

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
	splicer      *wire.Splicer
	connect      *sarama.Config // what brokers are connected to with, see brokerConfig
	meta         *metadata.Cache
	resends      resends
	ids          identities
	pool         lane.Pool
	confirmFewer time.Duration            // how long a broker has to tell of fewer partitions than are needed
	refreshEvery time.Duration            // how often topics are looked at although nothing has happened
	flow         time.Duration            // how long a batch that is not full waits while more is flowing
	lonePause    time.Duration            // see sender_narrow.go
	forgetAfter  time.Duration            // how long a topic may be silent before it is forgotten
	linger       atomic.Int64             // how long it waits now, in nanoseconds
	registered   sync.Once                // whether status and metrics know of the producer
	silentTopics atomic.Pointer[[]*topic] // that may be forgotten; nil: none

	// The publishing goroutine's.
	composer *record.Composer
	topics   map[string]*topic
	name     []byte       // scratch space for a topic's name
	last     *topic       // where the previous event went
	dirty    []*topic     // that hold events of this pass
	entered  []*partition // that have events of this pass
	held     []*sender

	ctx    context.Context // done once closed
	cancel context.CancelFunc
	work   sync.WaitGroup

	reports sync.RWMutex // held, shared, while something is reported; see mu
	silent  bool         // nothing is reported any more: Close has been called; guarded by reports

	// mu guards what is below.
	//
	// While a lock of the sink is held, only locks that the arrows lead to from there are taken:
	//
	//	topic.mu ─┬─▶ reports
	//	          ├─▶ a lane's
	//	          └─▶ Producer.mu ──▶ sender.mu ──▶ resends.mu
	//	                  ▲
	//	sinkMetrics.mu ───┘
	//
	// Those of resends, identities, warnings and package metadata are innermost: under them no other is taken. Those of packages wire and auth
	// stand alone: none of these is held when they are taken, nor the other way round. No lock of this package is held while a broker is waited
	// for. sarama calls the splicer with a broker's lock held, so nothing here calls sarama with a lock of ours held, but for a broker's ID and
	// Addr, which take none. Acks.Rejected may be called with topic.mu held, Acks.Acked never is.
	mu      sync.Mutex
	senders map[int32]*sender
	known   map[string]*topic // as topics
}

// newProducer returns a producer without an identity. It asks nothing by itself until events come. ask is closed with it, if it can be.
func newProducer(cfg *Config, log *slog.Logger, m *sinkMetrics, acks Acks, s *wire.Splicer, connect *sarama.Config, ask metadata.Asker) *Producer {
	p := &Producer{cfg: cfg, log: log, metrics: m, acks: acks, splicer: s, connect: connect, confirmFewer: confirmFewerFor, refreshEvery: refreshTopicsEvery,
		flow: flowLinger, forgetAfter: forgetAfter, lonePause: lonePause, topics: map[string]*topic{}, senders: map[int32]*sender{}, known: map[string]*topic{}}
	p.composer = record.NewComposer(cfg.Record, p.reservedHeader())
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.resends.p, p.resends.began, p.resends.wake, p.ids.p = p, time.Now(), make(chan struct{}, 1), p
	p.meta = metadata.New(ask, func(topics []string) {
		p.told(topics)
		p.resends.poke()
	})
	p.start(p.resends.run)
	p.start(func() {
		p.meta.Run(p.ctx)
		if c, ok := ask.(interface{ Close() }); ok {
			c.Close()
		}
	})
	return p
}

// brokerConfig returns what a broker is connected to with. Each has one of its own, for sarama writes into it.
func (p *Producer) brokerConfig() *sarama.Config {
	c := *p.connect
	return &c
}

// reservedHeader warns once of each reserved name in the headers column, up to a few.
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

// Publish encodes ev into the batch of its partition. tx is the transaction that it is acked under. It returns the bytes that the event
// holds until then. An error is a [*record.BadEvent]: this event can never be a record, nothing of it was kept and nothing will be reported.
//
// The event waits for Flush. Publish blocks on nothing but a lane's lock, which nobody holds for long.
func (p *Producer) Publish(ev *schema.Event, tx uint64) (int, error) {
	t, err := p.topicOf(ev)
	if err != nil {
		return 0, p.bad(record.BadTopic(ev, p.name, err))
	}
	rec, err := p.composer.Compose(ev)
	if err != nil {
		return 0, p.bad(record.BadRow(ev, t.name, err))
	}
	where, err := record.PlaceOf(ev)
	if err != nil {
		return 0, p.bad(record.BadRow(ev, t.name, err))
	}
	size := rec.Size()
	if size > maxRecord {
		err := fmt.Errorf("its record has %d bytes: %w", size, sarama.ErrMessageSizeTooLarge)
		bad := record.BadRow(ev, t.name, err)
		bad.Cure = fmt.Sprintf("a record has at most %d bytes: publish a reference instead of the content", maxRecord)
		return 0, p.bad(bad)
	}
	partitions, n := t.partitions.Load(), where.Partition
	if partitions == nil || len(t.staged) > 0 || int(n) >= len(*partitions) {
		return p.hold(t, rec, size, n, tx), nil
	}
	if n < 0 {
		n = p.cfg.Partitioner.Partition(where.Key, int32(len(*partitions)))
	}
	part := (*partitions)[n]
	if !part.lane.Entered() {
		if !part.lane.Enter(len(*partitions)) {
			return p.hold(t, rec, size, where.Partition, tx), nil
		}
		p.entered = append(p.entered, part)
	}
	return part.lane.Append(rec, size, int(t.limit.Load()), tx, where.Partition >= 0), nil
}

// hold keeps an event until its topic's partitions are known.
func (p *Producer) hold(t *topic, rec *recordbatch.Record, size int, explicit int32, tx uint64) int {
	if !t.dirty {
		t.dirty = true
		p.dirty = append(p.dirty, t)
	}
	return t.hold(rec, size, explicit, tx)
}

// topicOf finds the event's topic and, on first sight, begins to ask for its partitions.
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
		t = &topic{name: string(p.name)}
		t.limit.Store(p.cfg.batchLimit())
		t.used.Store(time.Now().Unix())
		p.topics[t.name] = t
		p.register(t) // before it has metrics: another producer may be about to forget those of the name
		t.published, t.bytes = p.metrics.topic(t.name)
		p.start(func() { t.arrange(p) })
	}
	p.last = t
	return t, nil
}

// bad counts an event that can never be a record.
func (p *Producer) bad(e *record.BadEvent) error {
	topic := e.Topic
	if record.CheckTopic([]byte(topic)) != nil {
		topic = "" // made up by rows: no label, and one that is not UTF-8 would panic
	}
	p.metrics.failed.WithLabelValues(topic, string(e.Code)).Inc()
	return e
}

// Flush hands what was published since the last Flush to the senders. With flowing, batches that are not full wait for up to 5 ms for what
// the next Flush brings.
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
	// What a topic held goes to lanes behind what the pass wrote into them, so these end their pass first.
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

// holdSenders keeps all senders from sending until each is released, and appends them to held.
func (p *Producer) holdSenders(held []*sender) []*sender {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.senders {
		s.hold()
		held = append(held, s)
	}
	return held
}

// Close ends all sending and closes the connections. What was not acked by then never will be reported. It waits for a report that is being
// made, and for no broker and no issuer. It always returns nil.
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
		// sarama waits out a throttle with the broker's lock held, and nothing ends that. What still runs ends with it, and reports nothing.
	}
	return nil
}

// rejected reports an event that was published and can never be a record.
func (p *Producer) rejected(tx uint64, e *record.BadEvent) {
	p.reports.RLock()
	defer p.reports.RUnlock()
	if !p.silent {
		_ = p.bad(e)
		p.acks.Rejected(tx, e)
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
