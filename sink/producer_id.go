package sink

import (
	"context"
	"fmt"
	"strings"
	"time"

	"walpost/internal/reason"
	"walpost/sink/lane"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// newIdentity takes a producer id from any broker, waiting until one gives it. A broker that has just started answers
// COORDINATOR_LOAD_IN_PROGRESS until it has its first block of ids.
func (p *Producer) newIdentity(ctx context.Context) (lane.Identity, error) {
	since, warned := time.Now(), time.Time{}
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
				hopeless = &permanentError{fmt.Errorf("connect to Kafka at %s: %w; %s", addr, err, p.cfg.refusalCure(err)), refusalReason(err)}
			}
			failed = fmt.Errorf("connect to Kafka at %s: %w", addr, err)
		}
		if hopeless != nil {
			return lane.Identity{}, hopeless
		}
		cure := p.cfg.withNames(waitCure(err), "")
		code := waitReason(err)
		failed = reason.With(code, fmt.Errorf("%w; %s", failed, cure))
		p.metrics.opening.Store(&failed)
		if time.Since(since) > time.Second && time.Since(warned) > 10*time.Second {
			warned = time.Now()
			p.log.Warn("waiting for Kafka", "bootstrap.servers", strings.Join(p.cfg.Brokers, ","), "reason", code, "err", err, "cure", cure)
		}
		timer := time.NewTimer(min(pauseAfter(tries+1), idBackoff))
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
	if err := wire.CheckProduce(b, p.cfg.Codec == recordbatch.Zstd); err != nil {
		return lane.Identity{}, err
	}
	producer, epoch, err := wire.ProducerID(b)
	if err != nil {
		return lane.Identity{}, err
	}
	return lane.Identity{Producer: producer, Epoch: epoch}, nil
}
