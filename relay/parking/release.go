package parking

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/semaphore"

	"walpost/relay/pgerror"
)

// mostTopics is how many topics are published at the same time.
const mostTopics = 16

// mostReplayed is how many bytes of dead letters are in memory at the same time. No budget counts them.
const mostReplayed = 4 << 20

// Release publishes what is given back, and lets keys flow of which nothing is parked any more, until ctx is done. Each topic is published
// on its own, because one that takes no records must not hold up the others.
func (p *Parker) Release(ctx context.Context) {
	var topics sync.WaitGroup
	defer topics.Wait()
	busy := map[string]bool{} // topics of which something is being published
	ended := make(chan string)
	memory := semaphore.NewWeighted(mostReplayed)
	s := &survey{p: p, c: p.connection()}
	defer s.c.close()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case topic := <-ended:
			delete(busy, topic)
			continue
		case <-tick.C:
		}
		p.keys.forget(p.cfg.Reached)
		p.endLast(p.keys.names(func(_ name, k *key) bool { return k.last != nil && time.Since(k.last.since) > longestLast }))
		holder, sink := p.held()
		if holder == "" || sink == nil {
			s.c.close()
			continue
		}
		given, err := s.look(ctx, holder, sink)
		p.tell(ctx, holder, "", err)
		for _, topic := range given {
			if busy[topic] || len(busy) == mostTopics {
				continue
			}
			busy[topic] = true
			topics.Go(func() {
				(&release{p: p, c: p.connection(), holder: holder, sink: sink, topic: topic, memory: memory}).run(ctx)
				select {
				case ended <- topic:
				case <-ctx.Done():
				}
			})
		}
	}
}

// release publishes what is given back of a topic.
type release struct {
	p      *Parker
	c      *connection
	holder string
	sink   Replayer
	topic  string
	memory *semaphore.Weighted

	published, returned int // events and keys so far
}

// run publishes until nothing is left, or the session ends, or the relay stops.
func (r *release) run(ctx context.Context) {
	defer r.c.close()
	defer func() {
		if r.published+r.returned > 0 {
			r.p.cfg.Log.Info("dead letters were published", "topic", r.topic, "events", r.published, "keys_refused_again", r.returned)
		}
	}()
	for ctx.Err() == nil && r.p.stillHolds(r.holder) && r.p.begin() {
		more, err := r.round(ctx)
		r.p.end()
		r.p.tell(ctx, r.holder, r.topic, err)
		if !more {
			return
		}
	}
}

// round publishes and records one round. more reports that there may be another one.
func (r *release) round(ctx context.Context) (more bool, err error) {
	var chosen *round
	err = r.c.inTx(ctx, r.holder, func(ctx context.Context, tx pgx.Tx) (err error) {
		chosen, err = r.p.take(ctx, tx, r.topic)
		return err
	})
	if chosen == nil {
		return false, err
	}
	defer func() { r.p.endLast(chosen.keys) }() // those that flow now have none
	if err != nil || len(chosen.ids) == 0 {
		return false, err
	}
	weight := min(chosen.bytes, mostReplayed)
	if r.memory.Acquire(ctx, weight) != nil {
		return false, nil // ctx is done
	}
	defer r.memory.Release(weight)
	var replays []*replay
	if err = r.c.use(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		replays, err = chosen.read(ctx, conn)
		return err
	}); err != nil || !r.p.stillHolds(r.holder) {
		return false, err
	}
	g := r.p.publish(r.sink, replays)
	select {
	case <-ctx.Done():
		return false, nil
	case <-g.done:
	}
	over, recorded := r.record(ctx, chosen, replays)
	r.p.flow(ctx, r.sink, over)
	return recorded, nil
}

// record records what became of replays, however often it has to try. It returns the keys of which nothing is left. It returns false if the
// session has ended: then what is not recorded is published again.
func (r *release) record(ctx context.Context, chosen *round, replays []*replay) (over []name, recorded bool) {
	for {
		err := r.c.inTx(ctx, r.holder, func(ctx context.Context, tx pgx.Tx) (err error) {
			over, err = r.p.settle(ctx, tx, chosen, replays)
			return err
		})
		if err == nil {
			r.published += chosen.released
			r.returned += chosen.returned
			return over, true
		}
		r.p.endLast(chosen.keys)
		if ctx.Err() != nil || !r.p.stillHolds(r.holder) {
			return nil, false
		}
		r.p.tell(ctx, r.holder, r.topic, err)
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
}

// flow lets keys flow that are in their last step, of which the table has nothing that is parked. If events of a key are on their way here all
// the time, it may have to try more than once.
func (p *Parker) flow(ctx context.Context, sink Replayer, over []name) {
	pause := time.Millisecond
	for {
		over = slices.DeleteFunc(over, func(n name) bool { return p.resume(sink, n) })
		if len(over) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, 50*time.Millisecond)
		}
	}
}

// resume lets a key flow, or finds that it cannot: its last step is over.
func (p *Parker) resume(sink Replayer, n name) (done bool) {
	kept, last := p.keys.kept(n)
	if !last {
		return true
	}
	flow := func() bool { return p.keys.flow(n, len(kept)) }
	if len(kept) == 0 {
		done = flow()
	} else {
		done = sink.Resume(kept, flow)
	}
	if done {
		p.cfg.Log.Info("a parked key flows again", "topic", n.topic, "key", clip([]byte(n.key)))
	}
	return done
}

// begin reports whether something may be published, and counts it.
func (p *Parker) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resting {
		return false
	}
	p.rounds++
	return true
}

// end notes that what begin counted is recorded, or cannot be.
func (p *Parker) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rounds--; p.rounds == 0 && p.resting {
		close(p.rested)
	}
}

// Rest lets nothing more be published, and waits until what is being published is recorded: otherwise it would be published again after a
// stop. It waits until ctx is done at most. It may be called only once.
func (p *Parker) Rest(ctx context.Context) {
	p.mu.Lock()
	p.resting, p.rested = true, make(chan struct{})
	if p.rounds == 0 {
		close(p.rested)
	}
	p.mu.Unlock()
	select {
	case <-p.rested:
	case <-ctx.Done():
	}
}

// tell logs why walpost.dead_letters cannot be read or written for a topic, once for each reason; a nil err: it can. Topic "" stands for a look
// at all topics.
func (p *Parker) tell(ctx context.Context, holder, topic string, err error) {
	if ctx.Err() != nil || !p.stillHolds(holder) {
		return
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	p.mu.Lock()
	old := p.told[topic]
	if delete(p.told, topic); text != "" {
		p.told[topic] = text
	}
	p.mu.Unlock()
	if text != "" && text != old {
		p.cfg.Log.Warn("what is given back cannot be published, or not recorded; walpost tries again", "topic", topic, "reason", pgerror.Reason(err), "err", p.cfg.Classify(err))
	}
}
