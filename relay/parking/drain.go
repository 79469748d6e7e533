package parking

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/breaker"
	"walpost/internal/reason"
	"walpost/relay/internal/wake"
	"walpost/schema"
)

// drain publishes what waits for a topic, when the topic takes records again, and then lets the topic flow.
type drain struct {
	publishing
	after     string // the highest position of what was published
	sure      bool   // the topic has taken a record
	breaker   breaker.Breaker
	published int // events so far
}

// run publishes until the topic flows, or does not take a record, or the session ends, or the relay stops.
func (d *drain) run(ctx context.Context) {
	defer d.c.close()
	if !d.p.keys.drain(d.topic, true) {
		return
	}
	defer d.p.keys.drain(d.topic, false)
	began := time.Now()
	for ctx.Err() == nil && d.p.stillHolds(d.holder) && d.p.begin() {
		flows, more, err := d.step(ctx)
		d.p.end()
		d.p.tell(ctx, d.holder, d.topic, err)
		if flows {
			d.p.cfg.Log.Info("a topic takes records again: what waited for it is published, and it flows", "topic", d.topic, "events", d.published, "took", time.Since(began).Round(time.Millisecond))
		}
		if flows || err != nil || !d.p.keys.stillDraining(d.topic) {
			return
		}
		if !more {
			select {
			case <-ctx.Done():
			case <-time.After(lastPause):
			}
		}
	}
}

// step publishes a round of what is confirmed, or if there is none, makes the last step. flows reports that the topic flows, and more that there may
// be another round at once.
func (d *drain) step(ctx context.Context) (flows, more bool, err error) {
	if err := d.absorb(ctx); err != nil {
		return false, false, err
	}
	n, err := d.round(ctx, d.p.before())
	if err != nil || n > 0 {
		return false, n > 0, err
	}
	if !d.sure && d.p.keys.refuses(d.topic) { // no event can show yet that it takes records
		d.p.keys.drain(d.topic, false)
		return false, false, nil
	}
	flows, err = d.last(ctx)
	return flows, false, err
}

// absorb makes rows of keys that the topic has refused wait for the topic.
func (d *drain) absorb(ctx context.Context) error {
	keys := d.p.keys.absorbed(d.topic)
	if len(keys) == 0 {
		return nil
	}
	_, values := apart(keys)
	why := orNull(d.p.keys.why(d.topic))
	err := d.c.inTx(ctx, d.holder, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `update walpost.dead_letters d set state = 'waiting', reason = 'topic_blocked', detail = $4, updated_at = clock_timestamp()`+ofKeys, d.p.cfg.Slot, d.topic, values, why)
		if err == nil { // the first row tells the next session why the topic is blocked, also if it waited for another reason before
			_, err = tx.Exec(ctx, `update walpost.dead_letters set detail = $3 where detail is distinct from $3 and id = (
				select id from walpost.dead_letters where slot = $1 and topic = $2 and `+schema.IsBlocked+` order by position limit 1)`, d.p.cfg.Slot, d.topic, why)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("let keys wait for topic %s: %w", d.topic, err)
	}
	d.p.keys.forgetKeys(keys)
	return nil
}

// lastPause is the pause between two attempts to let a topic flow.
const lastPause = 100 * time.Millisecond

// before returns the position before which everything of this session is in Kafka or in the table.
func (p *Parker) before() uint64 { return max(p.resumed.Load(), p.cfg.Reached()) }

// round publishes and records what waits before an LSN, as much as one round takes. It returns how many events that was.
func (d *drain) round(ctx context.Context, lsn uint64) (n int, err error) {
	most, end := d.room()
	defer end()
	replays, large, err := d.choose(ctx, lsn, most, mostInRound)
	if err == nil && large {
		defer d.waitForLarge(ctx)()
		replays, _, err = d.choose(ctx, lsn, math.MaxInt64, 1)
	}
	if err != nil || len(replays) == 0 || !d.p.stillHolds(d.holder) {
		return 0, err
	}
	refuses := d.p.keys.refuses(d.topic)
	send := make([]*replay, 0, len(replays))
	for i, r := range replays {
		r.drains, r.probe = true, !d.sure && refuses
		if r.behind = d.p.keys.isBehind(r.name, r.letter.At, r.letter.Key != nil); r.behind {
			continue
		}
		if r.back != nil && r.letter.Key != nil { // somebody has edited it
			d.p.keys.refusedInDrain(r.name, r.letter.At)
		}
		if send = append(send, r); !d.sure { // one event shows whether the topic takes records
			replays = replays[:i+1]
			break
		}
	}
	if !d.publish(ctx, send, false) {
		return 0, nil
	}
	d.judge(replays)
	settle := func(ctx context.Context, tx pgx.Tx) error { return d.settle(ctx, tx, replays) }
	if !d.record(ctx, settle, func() { d.count(replays) }, func() {}) {
		return 0, nil
	}
	d.after = replays[len(replays)-1].at
	return len(replays), nil
}

// judge makes the topic one that refuses its records, if it has refused so many without taking one. Its events wait for it then, and not for a
// person.
func (d *drain) judge(replays []*replay) {
	var why *schema.DeadLetter
	var keys [][]byte
	var rest []*replay // heads that are not recorded yet
	for _, r := range replays {
		switch {
		case r.acked:
			d.breaker.Took()
			continue
		case r.back == nil || !r.back.Head || r.back.Code == reason.Unexpected: // that one was edited
			continue
		}
		refused, trips := d.breaker.Refused(r.back.Code, r.letter.Key)
		keys, rest = append(keys, refused...), append(rest, r)
		if why == nil && trips {
			why = r.back
		}
	}
	if why == nil {
		return
	}
	d.p.Block(d.topic, why.Code, why.Detail, why.Cure)
	for _, r := range rest {
		if r.back.Head = false; r.letter.Key != nil {
			d.p.keys.unrefused(r.name)
		}
	}
	d.p.Absorb(d.topic, keys)
}

// count counts what a round has published, and what does not wait for the topic any more.
func (d *drain) count(replays []*replay) {
	var over, bytes, published int64
	took := false
	var heads []name
	for _, r := range replays {
		head := r.back != nil && r.back.Head
		if head && r.letter.Key != nil {
			heads = append(heads, r.name)
		}
		if r.acked || head || r.behind {
			over++
			bytes += r.size
		}
		if r.acked {
			d.published++
			d.sure, took = true, true
			published += r.size
		}
	}
	d.p.keys.drained(d.topic, over, bytes, took, heads)
	d.p.bytes.Add(bytes - published)
}

// choose reads the first events that wait for the topic, before an LSN and after what was published: at most count, and most bytes. large reports
// that there are none of that size, and that one is there which is larger. It does so in a transaction of the session that has the slot.
func (d *drain) choose(ctx context.Context, lsn uint64, most int64, count int) (replays []*replay, large bool, err error) {
	const first = `from walpost.dead_letters where slot = $1 and topic = $2 and ` + schema.IsBlocked + ` and position > $3 and substr(position, 10, 16) < $4`
	err = d.c.inTx(ctx, d.holder, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			select `+replayColumns+` from (
			  select *, sum(`+schema.SizeOf+`) over (order by position) as total from (
			    select * `+first+` order by position limit $5) first) sized
			where total <= $6 order by position`, d.p.cfg.Slot, d.topic, d.after, fmt.Sprintf("%016X", lsn), count, most)
		if err == nil {
			replays, err = pgx.CollectRows(rows, scanReplay)
		}
		if err == nil && len(replays) == 0 {
			err = tx.QueryRow(ctx, `select exists (select `+first+`)`, d.p.cfg.Slot, d.topic, d.after, fmt.Sprintf("%016X", lsn)).Scan(&large)
		}
		if err != nil {
			return fmt.Errorf("read what waits for topic %s: %w", d.topic, err)
		}
		return nil
	})
	return replays, large, err
}

// settle records what became of a round. What Postgres may deliver again stays as released.
func (d *drain) settle(ctx context.Context, tx pgx.Tx, replays []*replay) error {
	before := d.p.before()
	if !d.p.stillHolds(d.holder) { // that position may not be this session's
		before = 0
	}
	var gone, released, behind []int64
	var b pgx.Batch
	for _, r := range replays {
		switch {
		case r.acked && r.letter.At.LSN < before:
			gone = append(gone, r.id)
		case r.acked:
			released = append(released, r.id)
		case r.behind || r.back != nil && !r.back.Head && !d.p.keys.isAbsorbed(r.name) && d.p.keys.isBehind(r.name, r.letter.At, r.letter.Key != nil):
			behind = append(behind, r.id)
		case r.back != nil && r.back.Head:
			b.Queue(`update walpost.dead_letters set state = 'head', reason = coalesce(nullif($2, ''), 'unexpected'), detail = $3, updated_at = clock_timestamp()
				where id = $1 and `+schema.IsBlocked, r.id, string(r.back.Code), orNull(r.back.Detail))
		}
	}
	for _, one := range []struct {
		ids []int64
		sql string
	}{
		{gone, `delete from walpost.dead_letters`},
		{released, `update walpost.dead_letters set state = 'released', updated_at = clock_timestamp()`},
		{behind, `update walpost.dead_letters set reason = 'key_parked', updated_at = clock_timestamp()`},
	} {
		if len(one.ids) > 0 {
			b.Queue(one.sql+` where `+amongIDs+`'waiting' and reason = 'topic_blocked' and topic is not null`, one.ids)
		}
	}
	if b.Len() == 0 {
		return nil
	}
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("record what was published of topic %s: %w", d.topic, err)
	}
	return nil
}

// last is the last step: what comes of the topic stays in memory, while the rest of the table is published. Then it is sent behind that, and
// the topic flows. If that takes too long, what was kept goes to the table, and the step is tried again.
//
// What is published here is not confirmed, so older events of the topic may still come: Postgres delivers them again after a crash. It is
// published only when none can come any more: all events up to the highest position in the table have been handed to the sink, have had
// their verdict since, and are in Kafka or in the table.
func (d *drain) last(ctx context.Context) (flows bool, err error) {
	handed, since := max(d.p.resumed.Load(), d.p.cfg.Handed()), time.Now() // in this order: what was handed before is older than since
	var step *lastStep
	if err = d.c.inTx(ctx, d.holder, func(ctx context.Context, tx pgx.Tx) error {
		above, err := d.highest(ctx, tx)
		if err == nil && above.LSN < handed {
			step = d.p.keepTopic(d.topic, above)
		}
		return err
	}); err != nil || step == nil {
		return false, err
	}
	defer d.p.endLastOf(d.topic) // there is none if it flows
	for pause := time.Millisecond; time.Since(step.since) < longestLast && ctx.Err() == nil && d.p.stillHolds(d.holder) && d.p.keys.stillDraining(d.topic); {
		oldest := d.sink.Oldest(d.topic)
		if (oldest.IsZero() || oldest.After(since)) && d.p.keys.complete(d.topic, step) {
			n, err := d.round(ctx, handed)
			if err != nil {
				return false, err
			}
			if n > 0 {
				continue
			}
			left, err := d.left(ctx)
			if err != nil {
				return false, err
			}
			if !left && d.flow(step) {
				return true, nil
			}
			if left { // rows have come below what was published: of a key that waits for the topic now, or somebody has edited them
				d.after = ""
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, 50*time.Millisecond)
		}
	}
	return false, nil
}

// highest returns the highest position of what waits for the topic.
func (d *drain) highest(ctx context.Context, tx pgx.Tx) (at schema.Position, err error) {
	var text string
	err = tx.QueryRow(ctx, `select coalesce(max(position), '') from walpost.dead_letters where slot = $1 and topic = $2 and `+schema.IsBlocked, d.p.cfg.Slot, d.topic).Scan(&text)
	if err != nil {
		return at, fmt.Errorf("look for what waits for topic %s: %w", d.topic, err)
	}
	at, _ = schema.ParsePosition(text) // "": nothing waits; what cannot be read comes back when it is read
	return at, nil
}

// endLastOf ends a topic's last step: what was kept goes to the table.
func (p *Parker) endLastOf(topic string) {
	p.mu.Lock()
	p.queue.push(p.keys.endLastOf(topic)...)
	p.mu.Unlock()
	wake.Signal(p.wake)
}

// left reports whether the table has something that waits for the topic.
func (d *drain) left(ctx context.Context) (left bool, err error) {
	err = d.c.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `select exists (select from walpost.dead_letters where slot = $1 and topic = $2 and `+schema.IsBlocked+`)`, d.p.cfg.Slot, d.topic).Scan(&left)
	})
	if err != nil {
		return false, fmt.Errorf("look for what waits for topic %s: %w", d.topic, err)
	}
	return left, nil
}

// flow sends what the last step has kept, and lets the topic flow.
func (d *drain) flow(step *lastStep) bool {
	kept, ok := d.p.keys.keptOf(d.topic, step)
	if !ok {
		return false
	}
	return d.sink.ResumeTopic(d.topic, kept, func() bool { return d.p.keys.flowTopic(d.topic, step, len(kept)) })
}

// keepTopic begins the last step of a topic, of which the table has nothing above a position. Its caller holds the lock without which nobody
// parks. It returns nil if an event of the topic that was picked may be in the table already, if one that is older has to go there, or if more
// events are on their way there than such a step may keep.
func (p *Parker) keepTopic(topic string, above schema.Position) *lastStep {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.queue.unpack(topic, mostKept) {
		return nil
	}
	of := func(l *schema.DeadLetter) bool { return l.Blocked && l.Topic == topic }
	ready := true
	p.queue.each(func(l *schema.DeadLetter, picked bool) {
		ready = ready && !(of(l) && (picked || l.At.Compare(above) <= 0))
	})
	if !ready {
		return nil
	}
	kept := p.queue.take(of)
	step := p.keys.keepTopic(topic, kept, above)
	if step == nil {
		p.queue.push(kept...)
	}
	return step
}
