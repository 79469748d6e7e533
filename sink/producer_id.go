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

// identities manages the producer ids of a producer's lanes. It makes one request at a time, however many lanes need a new id, and gives
// the same id to all lanes that wait.
type identities struct {
	p *Producer

	mu      sync.Mutex    // innermost, see Producer.mu
	usual   lane.Identity // the id that new lanes begin with
	spent   bool          // a forgotten partition may have sequences of usual: no new lane may begin with it
	attempt chan struct{} // closed at the end of the current attempt to replace usual; nil: no attempt is under way
	err     error         // why the previous attempt failed; nil: this is the first one
	waiting []*partition
	asking  bool // give is running
}

// renew gives queued lanes a new producer id. It does not block.
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

// give asks for ids until no lane waits for one. Lanes that are added while it asks wait for the next id: such a lane may already have the
// id of the current request, and need another one.
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

// fresh takes an id, however long that takes, and calls failed after each attempt that failed. Unlike at start-up, it keeps trying when a
// login is refused, because passwords are rotated while relays run. An error means that the producer is closed.
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

// forNewLanes returns the id that new lanes begin with. If the last one is spent, it first waits for a new one, which all waiting callers
// share. It calls failed after each attempt that failed. It returns false once the producer is closed.
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

// replace takes a new id to replace the spent one.
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

// spend marks the usual id as spent: partitions that the sink has forgotten may hold sequences of it.
func (ids *identities) spend() {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	ids.spent = true
}

// newIdentity takes a producer id from any broker, and waits until one gives it. A broker that has just started answers
// COORDINATOR_LOAD_IN_PROGRESS until it has its first block of ids. newIdentity calls failed after each round in which no broker gave an
// id.
func (p *Producer) newIdentity(ctx context.Context, failed func(error)) (lane.Identity, error) {
	since, warned := time.Now(), time.Time{}
	defer p.metrics.opening.Store(nil)
	for tries := 0; ; tries++ {
		var err, why error
		var hopeless *permanentError // returned unless another broker gives an id
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

// addresses returns the known brokers: those from the cluster's metadata, then the configured ones.
func (p *Producer) addresses() []string { return append(p.meta.Addresses(), p.cfg.Brokers...) }

// idWaitFirst is how long each broker has to answer in the first round. The time doubles with each round in which none is fast enough.
const idWaitFirst = 4 * time.Second

// askIdentity asks one broker for a producer id, over a new connection. The handshake is worth its cost: if the broker refuses, its error
// says why.
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
