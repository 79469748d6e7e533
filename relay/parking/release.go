package parking

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/schema"
)

// replay is a dead letter that is published again.
type replay struct {
	id     int64 // of its row
	name   name
	letter *schema.DeadLetter
	group  *group
	acked  bool
	back   *schema.DeadLetter // it came back: refused, or because an earlier event of its key was; nil: it did not
}

// group is what is published at once.
type group struct {
	left int           // how many are neither acked nor back
	done chan struct{} // closed when none is left
}

// replayed notes the acks of replayed events, and returns how many of the runs are of such events.
func (p *Parker) replayed(runs []schema.Run) (n int) {
	for i := range runs {
		if runs[i].Tx&schema.ReplayTx == 0 {
			continue
		}
		n++
		p.mu.Lock()
		if r := p.replays[runs[i].Tx]; r != nil {
			r.acked = true
			p.finish(r)
		}
		p.mu.Unlock()
	}
	return n
}

// cameBack notes that a replayed event is not published.
func (p *Parker) cameBack(l *schema.DeadLetter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.replays[l.Tx]
	if r == nil {
		return
	}
	r.back = l
	if l.Head && r.letter.Key != nil {
		p.keys.update(r.name, func(k *key) {
			if !k.returned || l.At.Compare(k.after) < 0 {
				k.returned, k.after = true, l.At
			}
		})
	}
	p.finish(r)
}

// finish ends a replay. p.mu is held.
func (p *Parker) finish(r *replay) {
	delete(p.replays, r.letter.Tx)
	if r.group.left--; r.group.left == 0 {
		close(r.group.done)
	}
}

// Release publishes what people have given back, until ctx is done. Each topic is published on its own, because one that takes no records
// must not hold up the others.
func (p *Parker) Release(ctx context.Context) {
	var topics sync.WaitGroup
	defer topics.Wait()
	busy := map[string]bool{} // topics of which something is being published
	ended := make(chan string)
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
		holder, sink := p.held()
		if !p.look.Load() || holder == "" || sink == nil {
			continue
		}
		given, err := p.check(ctx, holder)
		p.tell(ctx, holder, err)
		for _, topic := range given {
			if busy[topic] || len(busy) == mostTopics {
				continue
			}
			busy[topic] = true
			topics.Go(func() {
				p.releaseTopic(ctx, holder, sink, topic)
				select {
				case ended <- topic:
				case <-ctx.Done():
				}
			})
		}
	}
}

// mostTopics is how many topics are published at the same time.
const mostTopics = 16

// check gives keys free of which nothing is parked any more, counts what is parked, and returns the topics of what is given back.
func (p *Parker) check(ctx context.Context, holder string) (given []string, err error) {
	p.look.Store(false) // before the queries: what is parked meanwhile sets it again
	var left int64
	err = p.do(ctx, holder, func(ctx context.Context, tx pgx.Tx) (err error) {
		parked, err := readKeys(ctx, tx, p.cfg.Slot)
		if err != nil {
			return err
		}
		for _, n := range p.keys.names(func(k *key) bool { return k.pending == 0 }) {
			if _, found := parked[n]; !found {
				p.free(n)
			}
		}
		if err = tx.QueryRow(ctx, `select count(*) from walpost.dead_letters where slot = $1 and `+schema.IsParked, p.cfg.Slot).Scan(&left); err != nil {
			return fmt.Errorf("count dead letters: %w", err)
		}
		rows, err := tx.Query(ctx, `select distinct coalesce(topic, '') from walpost.dead_letters where slot = $1 and state = 'retrying'`, p.cfg.Slot)
		if err == nil {
			given, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		if err != nil {
			return fmt.Errorf("look for dead letters that are given back: %w", err)
		}
		return nil
	})
	if err != nil {
		p.look.Store(true)
		return nil, err
	}
	p.letters.Store(left)
	if left > 0 || p.keys.count() > 0 {
		p.look.Store(true)
	}
	return given, nil
}

// do runs a transaction of the session that has the slot, over a connection of its own.
func (p *Parker) do(ctx context.Context, holder string, f func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	db, err := p.cfg.Connect(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	return inTx(ctx, db, p.cfg.Slot, holder, func(tx pgx.Tx) error { return f(ctx, tx) })
}

// releaseTopic publishes what is given back of a topic, until nothing is left or the session ends.
func (p *Parker) releaseTopic(ctx context.Context, holder string, sink Replayer, topic string) {
	for ctx.Err() == nil && p.stillHolds(holder) {
		var replays []*replay
		err := p.do(ctx, holder, func(ctx context.Context, tx pgx.Tx) (err error) {
			replays, err = p.given(ctx, tx, topic)
			return err
		})
		if err != nil {
			p.tell(ctx, holder, err)
			return
		}
		if len(replays) == 0 {
			return
		}
		g := p.publish(sink, replays)
		select {
		case <-ctx.Done():
			return
		case <-g.done:
		}
		if !p.record(ctx, holder, replays) {
			return
		}
	}
}

// record records what became of replays, however often it has to try, and lets keys flow of which nothing is left. It returns false if the
// session has ended: then what is not recorded is published again.
func (p *Parker) record(ctx context.Context, holder string, replays []*replay) bool {
	for {
		err := p.do(ctx, holder, func(ctx context.Context, tx pgx.Tx) error { return p.settle(ctx, tx, replays) })
		if err == nil {
			break
		}
		if ctx.Err() != nil || !p.stillHolds(holder) {
			return false
		}
		p.tell(ctx, holder, err)
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
	err := p.do(ctx, holder, func(ctx context.Context, tx pgx.Tx) error {
		left, err := readLeft(ctx, tx, p.cfg.Slot, replays)
		if err != nil {
			return err
		}
		for _, r := range replays {
			if r.letter.Key != nil && !left[r.name.key] {
				p.free(r.name)
			}
		}
		return nil
	})
	p.tell(ctx, holder, err) // check does the same, a little later
	return true
}

// free lets a key flow of which nothing is left in the table. Its caller has the lock of the slot's state.
func (p *Parker) free(n name) {
	if p.keys.free(n) {
		p.cfg.Log.Info("a parked key flows again", "topic", n.topic, "key", clip([]byte(n.key)))
	}
}

// tell logs why walpost.dead_letters cannot be read or written, once for each reason; a nil err: it can.
func (p *Parker) tell(ctx context.Context, holder string, err error) {
	switch {
	case ctx.Err() != nil || !p.stillHolds(holder):
	case err == nil:
		p.told.Store(nil)
	default:
		text := err.Error()
		if old := p.told.Swap(&text); old == nil || *old != text {
			p.cfg.Log.Warn("what is given back cannot be published, or not recorded; walpost tries again", "reason", pgerror.Reason(err), "err", p.cfg.Classify(err))
		}
	}
}

// given takes the next dead letters of a topic that are to be published: for each key that is given back everything that is parked of it, in
// order.
func (p *Parker) given(ctx context.Context, tx pgx.Tx, topic string) ([]*replay, error) {
	var releasing [][]byte
	for _, n := range p.keys.names(func(k *key) bool { return k.releasing }) {
		if n.topic == topic {
			releasing = append(releasing, []byte(n.key))
		}
	}
	rows, err := tx.Query(ctx, `
		with back as (select distinct key from walpost.dead_letters where slot = $1 and coalesce(topic, '') = $2 and state = 'retrying' and key is not null
		              union select unnest($3::bytea[]))
		select id, coalesce(octet_length(value), 0) + coalesce(octet_length(key), 0) from walpost.dead_letters d
		where slot = $1 and coalesce(topic, '') = $2 and (state = 'retrying' or state in ('head', 'waiting') and key in (select key from back))
		order by position limit $4`, p.cfg.Slot, topic, releasing, mostLetters)
	if err != nil {
		return nil, fmt.Errorf("look for dead letters that are given back: %w", err)
	}
	var ids []int64
	var id int64
	var size, bytes int
	if _, err = pgx.ForEachRow(rows, []any{&id, &size}, func() error {
		if bytes < mostBytes {
			ids = append(ids, id)
			bytes += size
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("look for dead letters that are given back: %w", err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	// Nobody can discard one that is on its way.
	if _, err := tx.Exec(ctx, `update walpost.dead_letters set state = 'retrying', updated_at = clock_timestamp() where id = any($1) and state <> 'retrying'`, ids); err != nil {
		return nil, fmt.Errorf("take dead letters: %w", err)
	}
	rows, err = tx.Query(ctx, `
		select id, position, event_id, coalesce(topic, ''), coalesce(partition, -1), key, type, value, header_names, header_values, record_timestamp
		from walpost.dead_letters where id = any($1) order by position`, ids)
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (*replay, error) {
		l := &schema.DeadLetter{Timestamp: schema.NoTime}
		r := &replay{letter: l}
		var at string
		var event, kind *string
		var names, values [][]byte
		var stamp *time.Time
		err := row.Scan(&r.id, &at, &event, &l.Topic, &l.Partition, &l.Key, &kind, &l.Value, &names, &values, &stamp)
		if err != nil {
			return nil, err
		}
		r.name = name{l.Topic, string(l.Key)}
		if l.At, err = schema.ParsePosition(at); err == nil && len(names) != len(values) {
			err = fmt.Errorf("it has %d header_names and %d header_values", len(names), len(values))
		}
		if err != nil { // somebody has edited the row
			r.back = &schema.DeadLetter{Head: true, Code: reason.Unexpected, Detail: err.Error()}
			return r, nil
		}
		for i := range names {
			l.Headers = append(l.Headers, schema.DeadHeader{Name: names[i], Value: values[i]})
		}
		if stamp != nil {
			l.Timestamp = stamp.UnixMilli()
		}
		return r, nil
	})
}

// publish hands replays to the sink. Of a key with a row that cannot be read, only what comes before that row is published.
func (p *Parker) publish(sink Replayer, replays []*replay) *group {
	g := &group{done: make(chan struct{})}
	var letters []*schema.DeadLetter
	stuck := map[name]bool{}
	p.mu.Lock()
	for _, r := range replays {
		if r.back == nil && stuck[r.name] {
			r.back = &schema.DeadLetter{}
		}
		if r.back != nil {
			stuck[r.name] = stuck[r.name] || r.letter.Key != nil
			continue
		}
		r.letter.Tx, r.group = p.nextTx, g
		p.replays[p.nextTx] = r
		p.nextTx++
		letters = append(letters, r.letter)
	}
	g.left = len(letters)
	p.mu.Unlock()
	for _, r := range replays {
		if r.letter.Key != nil {
			p.keys.update(r.name, func(k *key) { k.releasing, k.returned = true, false })
		}
	}
	if len(letters) == 0 {
		close(g.done)
		return g
	}
	sink.Replay(letters)
	return g
}

// settle records what became of replays.
func (p *Parker) settle(ctx context.Context, tx pgx.Tx, replays []*replay) error {
	var released []int64
	var returned []name
	for _, r := range replays {
		if r.acked {
			released = append(released, r.id)
			continue
		}
		state, more := "waiting", 0
		if r.back.Head {
			state, more = "head", 1
			if r.letter.Key != nil {
				returned = append(returned, r.name)
			}
		}
		if _, err := tx.Exec(ctx, `update walpost.dead_letters set state = $2, attempts = attempts + $3, reason = coalesce(nullif($4, ''), reason),
			detail = coalesce($5, detail), updated_at = clock_timestamp() where id = $1 and state = 'retrying'`,
			r.id, state, more, refusalCode(r.back), orNull(r.back.Detail)); err != nil {
			return fmt.Errorf("record that dead letter %d was refused again: %w", r.id, err)
		}
	}
	if _, err := tx.Exec(ctx, `update walpost.dead_letters set state = 'released', updated_at = clock_timestamp() where id = any($1) and state = 'retrying'`, released); err != nil {
		return fmt.Errorf("record that %d dead letters were released: %w", len(released), err)
	}
	for _, n := range returned {
		// What was given back with it waits again. From here on, what is parked of the key only waits.
		p.keys.update(n, func(k *key) { k.releasing, k.returned = false, false })
		if _, err := tx.Exec(ctx, `update walpost.dead_letters set state = 'waiting', updated_at = clock_timestamp()
			where slot = $1 and coalesce(topic, '') = $2 and sha256(key) = sha256($3) and key = $3 and state = 'retrying'`, p.cfg.Slot, n.topic, []byte(n.key)); err != nil {
			return fmt.Errorf("record that the key of dead letter %d waits again: %w", replays[0].id, err)
		}
	}
	if len(released)+len(returned) > 0 {
		p.cfg.Log.Info("dead letters were given back", "published", len(released), "refused_again", len(returned))
	}
	return nil
}

// refusalCode returns the new reason of an event that was refused again; "": the old one stays.
func refusalCode(back *schema.DeadLetter) string {
	if !back.Head {
		return ""
	}
	return string(back.Code)
}

// Load reads what the table has of the slot, at the beginning of a session in which nothing is in flight. holder is the session's word, and
// confirmed the position from which Postgres delivers again. From here on, events are parked and published.
func (p *Parker) Load(ctx context.Context, db *postgres.DB, holder string, confirmed schema.Position) error {
	var parked map[name]found
	var settled map[schema.Position]struct{}
	err := inTx(ctx, db, p.cfg.Slot, holder, func(tx pgx.Tx) (err error) {
		if parked, err = readKeys(ctx, tx, p.cfg.Slot); err == nil {
			settled, err = readSettled(ctx, tx, p.cfg.Slot, confirmed)
		}
		return err
	})
	if err != nil {
		return err
	}
	p.keys.replace(parked, settled)
	p.look.Store(true) // to find what has no key as well
	p.Hold(holder)
	if len(parked) > 0 {
		p.cfg.Log.Info("events of some keys are parked", "keys", len(parked))
	}
	return nil
}
