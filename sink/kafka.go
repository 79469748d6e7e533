package sink

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/auth"
	"walpost/sink/lane"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// Kafka is a Kafka cluster as configured. It holds no connection: Open makes producers.
type Kafka struct {
	cfg     Config
	log     *slog.Logger
	access  *auth.Access
	metrics *sinkMetrics
}

// NewKafka checks the configuration and registers the metrics. It connects to nothing.
func NewKafka(cfg Config) (*Kafka, error) {
	if _, err := recordbatch.NewEncoder(cfg.Codec); err != nil {
		return nil, err
	}
	k := &Kafka{cfg: cfg, log: cfg.Logger.With("target", "kafka")}
	var err error
	if k.access, err = auth.New(cfg.Security, cfg.Renew, k.log); err != nil {
		return nil, err
	}
	if k.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("register the sink's metrics: %w", err)
	}
	if _, err := wire.NewSplicer(k.access).SaramaConfig(k.cfg.ClientID, k.cfg.AutoCreateTopics); err != nil {
		return nil, err
	}
	return k, nil
}

// Open connects and takes a producer id. While no broker can be reached it waits, and says so, until ctx ends. An error that only a
// person can cure (SASL refused, a certificate that does not verify) is returned, with Permanent() true.
func (k *Kafka) Open(ctx context.Context, acks Acks) (*Producer, error) {
	s := wire.NewSplicer(k.access)
	// A peer that took the connection and says nothing would hold a dial, a handshake or a first answer until its time-out.
	defer context.AfterFunc(ctx, s.Close)()
	cfg, err := s.SaramaConfig(k.cfg.ClientID, k.cfg.AutoCreateTopics)
	if err != nil {
		return nil, err
	}
	client, err := sarama.NewClient(k.cfg.Brokers, cfg)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	p := newProducer(&k.cfg, k.log, k.metrics, acks, client, s)
	if p.id, err = p.newIdentity(ctx); err != nil {
		_ = p.Close()
		return nil, err
	}
	k.metrics.connected.Set(1)
	return p, nil
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

// newIdentity takes a producer id from any broker, waiting until one gives it. A broker that has just started answers
// COORDINATOR_LOAD_IN_PROGRESS until it has its first block of ids.
func (p *Producer) newIdentity(ctx context.Context) (lane.Identity, error) {
	since, said := time.Now(), time.Time{}
	defer p.metrics.opening.Store(nil)
	for tries := 0; ; tries++ {
		var err, failed error
		var hopeless *permanentError // unless another broker gives one
		for _, addr := range p.addresses() {
			var id lane.Identity
			if id, err = p.askIdentity(addr); err == nil {
				return id, nil
			}
			if ctx.Err() != nil {
				return lane.Identity{}, ctx.Err()
			}
			err = p.splicer.CheckListener(addr, err)
			if permanent(err) && hopeless == nil {
				hopeless = &permanentError{fmt.Errorf("connect to Kafka at %s: %w; %s", addr, err, p.cfg.refusalCure(err))}
			}
			failed = fmt.Errorf("connect to Kafka at %s: %w", addr, err)
		}
		if hopeless != nil {
			return lane.Identity{}, hopeless
		}
		cure := p.cfg.exact(hint(err), "")
		failed = fmt.Errorf("%w; %s", failed, cure)
		p.metrics.opening.Store(&failed)
		if time.Since(since) > time.Second && time.Since(said) > 10*time.Second {
			said = time.Now()
			p.log.Warn("waiting for Kafka", "bootstrap.servers", strings.Join(p.cfg.Brokers, ","), "err", err, "cure", cure)
		}
		timer := time.NewTimer(min(backoff(tries+1), idBackoff))
		select {
		case <-ctx.Done():
			timer.Stop()
			return lane.Identity{}, ctx.Err()
		case <-p.ctx.Done():
			timer.Stop()
			return lane.Identity{}, p.ctx.Err()
		case <-timer.C:
		}
	}
}

// addresses are the brokers that are known: those that told of themselves, then the configured ones.
func (p *Producer) addresses() []string {
	var addrs []string
	for _, b := range p.client.Brokers() {
		addrs = append(addrs, b.Addr())
	}
	return append(addrs, p.cfg.Brokers...)
}

// askIdentity asks one broker, over a connection of its own: the answer is worth the handshake, for it comes with the reason why not.
func (p *Producer) askIdentity(addr string) (lane.Identity, error) {
	b, err := wire.Connect(addr, p.client.Config())
	if err != nil {
		return lane.Identity{}, err
	}
	defer b.Close()
	producer, epoch, err := wire.ProducerID(b)
	if err != nil {
		return lane.Identity{}, err
	}
	return lane.Identity{Producer: producer, Epoch: epoch}, nil
}
