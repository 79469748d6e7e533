package sink

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/reason"
	"walpost/sink/lane"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// identities are the producer ids of a producer's lanes. However many lanes need a new one, there is one request at a time, and one id for
// all that wait for it.
type identities struct {
	p *Producer

	mu      sync.Mutex    // innermost, see Producer.mu
	usual   lane.Identity // what new lanes begin with
	spent   bool          // a partition that was forgotten may have sequences of it: no new lane may begin with it
	attempt chan struct{} // closed at the end of the current attempt to replace usual; nil: there is none
	err     error         // why the attempt before that failed; nil: it is the first
	waiting []*partition
	asking  bool // give is at work
}

// renew has queued lanes take a new producer id. It does not block.
func (ids *identities) renew(parts []*partition) {
	if len(parts) == 0 {
		return
	}
	ids.mu.Lock()
	ids.waiting = append(ids.waiting, parts...)
	first := !ids.asking
	ids.asking = true
	ids.mu.Unlock()
	if first {
		ids.p.start(ids.give)
	}
}

// give asks for ids until no lane waits for one. Lanes that come while it asks wait for the next: one of them may have the id already that
// is being given, and need another.
func (ids *identities) give() {
	for {
		ids.mu.Lock()
		parts := ids.waiting
		ids.waiting = nil
		ids.asking = len(parts) > 0
		ids.mu.Unlock()
		if len(parts) == 0 {
			return
		}
		began := time.Now()
		id, err := ids.fresh(func(err error) {
			for _, part := range parts {
				part.topic.warn(ids.p, part, began, err)
			}
		})
		if err != nil {
			return // closed
		}
		for _, part := range parts {
			part.lane.Renumber(id)
		}
		ids.p.findLeaders(parts)
	}
}

// fresh takes an id, however long that takes, and calls failed after each attempt that failed. Later than at the start a login that is refused
// is waited out: passwords are rotated while relays run. An error means that the producer is closed.
func (ids *identities) fresh(failed func(error)) (lane.Identity, error) {
	for tries := 1; ; tries++ {
		id, err := ids.p.newIdentity(ids.p.ctx, failed)
		if err == nil {
			return id, nil
		}
		failed(err)
		if !ids.p.sleep(pauseAfter(tries)) {
			return lane.Identity{}, ids.p.ctx.Err()
		}
	}
}

// forNewLanes returns what new lanes begin with, and takes an id first if the last one is spent: one for all callers that wait for it. It
// calls failed after each attempt that failed. It returns false once the producer is closed.
func (ids *identities) forNewLanes(failed func(error)) (lane.Identity, bool) {
	for {
		ids.mu.Lock()
		id, spent, err := ids.usual, ids.spent, ids.err
		first := spent && ids.attempt == nil
		if first {
			ids.attempt = make(chan struct{})
		}
		attempt := ids.attempt
		ids.mu.Unlock()
		if !spent {
			return id, true
		}
		if first {
			ids.p.start(ids.replace)
		}
		if err != nil {
			failed(err)
		}
		if !ids.p.wait(attempt) {
			return lane.Identity{}, false
		}
	}
}

// replace takes an id in place of the one that is spent.
func (ids *identities) replace() {
	id, err := ids.fresh(func(err error) {
		ids.mu.Lock()
		defer ids.mu.Unlock()
		close(ids.attempt)
		ids.attempt, ids.err = make(chan struct{}), err
	})
	if err != nil {
		return // closed
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	ids.usual, ids.spent = id, false
	close(ids.attempt)
	ids.attempt, ids.err = nil, nil
}

// spend says that sequences of the usual id may stand in partitions that nobody knows of any more.
func (ids *identities) spend() {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	ids.spent = true
}

// newIdentity takes a producer id from any broker, waiting until one gives it. A broker that has just started answers
// COORDINATOR_LOAD_IN_PROGRESS until it has its first block of ids. After each round in which no broker gave one, failed is called.
func (p *Producer) newIdentity(ctx context.Context, failed func(error)) (lane.Identity, error) {
	since, warned := time.Now(), time.Time{}
	defer p.metrics.opening.Store(nil)
	for tries := 0; ; tries++ {
		var err, why error
		var hopeless *permanentError // unless another broker gives one
		for _, addr := range p.addresses() {
			var id lane.Identity
			if id, err = p.askIdentity(addr, min(idWaitFirst<<min(tries, 10), wire.ReadTimeout)); err == nil {
				return id, nil
			}
			if ctx.Err() != nil {
				return lane.Identity{}, ctx.Err()
			}
			err = p.splicer.CheckListener(addr, err)
			if permanent(err) && hopeless == nil {
				hopeless = &permanentError{fmt.Errorf("connect to Kafka at %s: %w; %s", addr, err, p.cfg.refusalCure(err)), refusalReason(err)}
			}
			why = fmt.Errorf("connect to Kafka at %s: %w", addr, err)
		}
		if hopeless != nil {
			return lane.Identity{}, hopeless
		}
		cure := p.cfg.withNames(waitCure(err), "")
		code := waitReason(err)
		failed(why)
		why = reason.With(code, fmt.Errorf("%w; %s", why, cure))
		p.metrics.opening.Store(&why)
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

// addresses are the brokers that are known: those that were told of, then the configured ones.
func (p *Producer) addresses() []string { return append(p.meta.Addresses(), p.cfg.Brokers...) }

// idWaitFirst is how long each broker has in a first round. Where none is fast enough they get more.
const idWaitFirst = 4 * time.Second

// askIdentity asks one broker, over a connection of its own: the answer is worth the handshake, for it comes with the reason why not.
func (p *Producer) askIdentity(addr string, limit time.Duration) (lane.Identity, error) {
	var id lane.Identity
	err := wire.AskWithin(addr, p.brokerConfig(), limit, func(b *sarama.Broker) error {
		greeting, err := wire.Greet(b, p.cfg.Codec == recordbatch.Zstd)
		if err != nil {
			return err
		}
		id.Cluster = greeting.Cluster
		id.Producer, id.Epoch, err = wire.ProducerID(b)
		return err
	})
	return id, err
}
