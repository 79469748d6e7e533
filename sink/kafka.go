package sink

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"walpost/sink/auth"
	"walpost/sink/metadata"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// Kafka is a Kafka cluster as configured. It holds no connection: Open makes producers.
type Kafka struct {
	cfg     Config
	log     *slog.Logger
	access  *auth.Access
	metrics *sinkMetrics
	cluster atomic.Value // string: the id of the cluster of the last connection
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
	if _, err := wire.NewSplicer(k.access).SaramaConfig(k.cfg.ClientID); err != nil {
		return nil, err
	}
	return k, nil
}

// Open connects and takes a producer id. While it reaches no broker, it waits until ctx ends, and logs that it waits. If only a person can
// cure the error (SASL refused, a certificate that does not verify), Open returns it, with Permanent() true.
func (k *Kafka) Open(ctx context.Context, acks Acks) (*Producer, error) {
	s := wire.NewSplicer(k.access)
	s.RequestTimeout = k.cfg.RequestTimeout
	// A peer that accepts the connection and sends nothing would otherwise block a dial, a handshake or a first answer until its time-out.
	defer context.AfterFunc(ctx, s.Close)()
	cfg, err := s.SaramaConfig(k.cfg.ClientID)
	if err != nil {
		return nil, err
	}
	p := newProducer(&k.cfg, k.log, k.metrics, acks, s, cfg, metadata.NewBrokers(cfg, k.cfg.Brokers))
	if p.ids.usual, err = p.newIdentity(ctx, func(error) {}); err != nil {
		_ = p.Close()
		return nil, err
	}
	k.metrics.connected.Set(1)
	if id := p.ids.usual.Cluster; k.cluster.Swap(id) != id {
		k.log.Info("connected to Kafka", "cluster", id, "bootstrap.servers", k.cfg.Brokers)
	}
	return p, nil
}
