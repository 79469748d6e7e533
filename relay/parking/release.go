package parking

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/semaphore"

	"walpost/internal/reason"
	"walpost/relay/internal/wake"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// Limits of what is published at the same time. No budget counts these bytes. A round of a topic takes up to largeRound of them. If other
// topics have taken too much, perhaps because Kafka does not take their records now, a round is small, and does not wait for them.
const (
	mostTopics   = 64
	mostReplayed = 4 << 20 // of all rounds that are not small
	largeRound   = mostReplayed / 2
	smallRound   = 64 << 10
	mostInRound  = 2000            // letters
	largeTurn    = 5 * time.Second // so long a larger event waits for another one
)

// Release publishes what is given back, and lets keys flow of which nothing is parked any more, until ctx is done. Each topic is published
// on its own, because one that takes no records must not hold up the others.
func (p *Parker) Release(ctx context.Context) {
	var topics sync.WaitGroup
	defer topics.Wait()
	busy := map[string]bool{}        // topics of which something is being published
	absent := map[string]time.Time{} // since when topics of which something is given back take no records
	ended := make(chan string)
	memory, large := semaphore.NewWeighted(mostReplayed), semaphore.NewWeighted(1)
	s := &survey{p: p, c: p.connection(), busy: busy}
	defer s.c.close()
	topics.Go(func() { (&counter{p: p}).run(ctx) })
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
		p.endLast(p.keys.names(func(_ name, k *key) bool { return k.last != nil && time.Since(k.last.since) > longestLast }))
		holder, sink := p.held()
		if holder == "" || sink == nil {
			s.c.close()
			continue
		}
		p.keys.forget(p.cfg.Reached)
		given, err := s.look(ctx, holder, sink)
		p.tell(ctx, holder, "", err)
		of := func(topic string) publishing {
			return publishing{p: p, c: p.connection(), holder: holder, sink: sink, topic: topic, memory: memory, large: large}
		}
		start := func(topic string, run func(context.Context)) {
			if busy[topic] || len(busy) == mostTopics {
				return
			}
			busy[topic] = true
			topics.Go(func() {
				run(ctx)
				select {
				case ended <- topic:
				case <-ctx.Done():
				}
			})
		}
		p.alarms()
		for _, topic := range p.keys.due() {
			if sink.Ready(topic) == nil {
				start(topic, (&drain{publishing: of(topic)}).run)
			}
		}
		for topic := range absent {
			if !slices.Contains(given, topic) {
				delete(absent, topic)
			}
		}
		for _, topic := range given {
			if busy[topic] {
				continue
			}
			if s.beyond[topic] {
				p.tell(ctx, holder, topic, p.parkBeyond(ctx, s.c, holder, topic))
				continue
			}
			why := p.keys.whyBlocked(topic) // then what was parked of the topic before comes first
			condition := why != nil
			if why == nil {
				why = sink.Ready(topic)
				condition = isCondition(why)
			}
			switch {
			case why == nil:
				delete(absent, topic)
				start(topic, (&release{publishing: of(topic)}).run)
			case !condition: // Kafka may be away
				delete(absent, topic)
			case absent[topic].IsZero():
				absent[topic] = time.Now()
			case time.Since(absent[topic]) >= p.absentFor:
				p.tell(ctx, holder, topic, p.takeBack(ctx, s.c, holder, topic, why))
			}
		}
	}
}

// absentFor is how long what is given back waits for a topic that takes no records. Then it is parked as before: nobody could give it up
// otherwise.
const absentFor = 30 * time.Second

// isCondition reports whether a broker has named err as a condition of the topic. Anything else ends by itself.
func isCondition(err error) bool {
	switch pgerror.Reason(err) {
	case reason.TopicMissing, reason.TopicNotAuthorized:
		return true
	}
	return false
}

// takeBack parks what is given back of a topic as before, because the topic takes no records.
func (p *Parker) takeBack(ctx context.Context, c *connection, holder, topic string, why error) error {
	var events int64
	err := c.inTx(ctx, holder, func(ctx context.Context, tx pgx.Tx) error {
		const where = " where slot = $1 and coalesce(topic, '') = $2 and state = 'retrying'"
		behind, err := tx.Exec(ctx, "update walpost.dead_letters set state = 'waiting', updated_at = clock_timestamp()"+where+" and reason = 'key_parked'", p.cfg.Slot, topic)
		if err != nil {
			return fmt.Errorf("park what is given back of topic %s: %w", topic, err)
		}
		heads, err := tx.Exec(ctx, `update walpost.dead_letters set state = 'head', updated_at = clock_timestamp(), attempts = least(attempts, 2147483646) + 1,
			detail = $3, reason = $4`+where+" and reason is distinct from 'key_parked'", p.cfg.Slot, topic, orNull(why.Error()), string(pgerror.Reason(why)))
		if err != nil {
			return fmt.Errorf("park what is given back of topic %s: %w", topic, err)
		}
		events = behind.RowsAffected() + heads.RowsAffected()
		return nil
	})
	p.forgetRelease(topic)
	if err == nil && events > 0 {
		p.cfg.Log.Warn("events that were given back are parked as before: their topic takes no records", "topic", topic, "events", events, "reason", pgerror.Reason(why), "err", why)
	}
	return err
}

// release publishes what is given back of a topic.
type release struct {
	publishing
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
		if !more || r.p.keys.blocked(r.topic) {
			return
		}
	}
}

// round publishes and records one round. more reports that there may be another one.
func (r *release) round(ctx context.Context) (more bool, err error) {
	most, end := r.room()
	defer end()
	var chosen *round
	err = r.c.inTx(ctx, r.holder, func(ctx context.Context, tx pgx.Tx) (err error) {
		chosen, err = r.p.take(ctx, tx, r.topic, most)
		return err
	})
	if err != nil {
		r.p.forgetRelease(r.topic)
		return false, err
	}
	defer func() { r.p.endLast(chosen.keys) }() // those that flow now have none
	if len(chosen.ids) == 0 {
		return false, nil
	}
	if chosen.bytes > most { // one event
		defer r.waitForLarge(ctx)()
	}
	var replays []*replay
	if err = r.c.inTx(ctx, r.holder, func(ctx context.Context, tx pgx.Tx) (err error) {
		replays, err = chosen.read(ctx, tx)
		return err
	}); err != nil || !r.p.stillHolds(r.holder) {
		return false, err
	}
	if !r.publish(ctx, replays, chosen.first) {
		return false, nil
	}
	var over []name // keys of which nothing is left
	settle := func(ctx context.Context, tx pgx.Tx) (err error) {
		over, err = r.p.settle(ctx, tx, chosen, replays)
		return err
	}
	count := func() {
		r.published += chosen.released
		r.returned += chosen.returned
	}
	if !r.record(ctx, settle, count, func() { r.p.endLast(chosen.keys) }) {
		return false, nil
	}
	r.p.flow(ctx, r.sink, over)
	return true, nil
}

// flow lets keys flow that are in their last step, of which the table has nothing that is parked. If events of a key are on their way here all
// the time, it may have to try more than once. It gives up when the last step has taken too long.
func (p *Parker) flow(ctx context.Context, sink Replayer, over []name) {
	pause := time.Millisecond
	for began := time.Now(); ; {
		over = slices.DeleteFunc(over, func(n name) bool { return p.resume(sink, n) })
		if len(over) == 0 || time.Since(began) > longestLast {
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
	last, kept := p.keys.last(n)
	if last == nil {
		return true
	}
	if p.keys.blocked(n.topic) {
		return p.joinTopic(n, last)
	}
	for _, l := range kept {
		l.Retried = true
	}
	if len(kept) == 0 {
		_, done = p.keys.flow(n, last, func(letters []*schema.DeadLetter) bool { return len(letters) == 0 })
	} else {
		done = sink.Resume(kept[0], func(fit func([]*schema.DeadLetter) bool) ([]*schema.DeadLetter, bool) {
			return p.keys.flow(n, last, fit)
		})
	}
	if done {
		p.cfg.Log.Info("a parked key flows again", "topic", n.topic, "key", clip([]byte(n.key)))
	}
	return done
}

// joinTopic ends the wait of a key whose topic takes no records: what was kept, and what comes, waits for the topic.
func (p *Parker) joinTopic(n name, last *lastStep) (done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept, done := p.keys.flowToTopic(n, last)
	p.queue.push(kept...)
	wake.Signal(p.wake)
	return done
}

// forgetRelease notes that nothing of a topic is given back, after a transaction that failed: what it gave back may wait in the table as before.
func (p *Parker) forgetRelease(topic string) {
	for _, n := range p.keys.names(func(n name, k *key) bool { return n.topic == topic && k.releasing }) {
		p.keys.update(n, func(k *key) { k.releasing = false })
	}
	p.endLast(p.keys.names(func(n name, k *key) bool { return n.topic == topic && k.last != nil }))
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
