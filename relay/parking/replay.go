package parking

import "walpost/schema"

// replay is a dead letter that is published again.
type replay struct {
	id     int64  // of its row
	at     string // its position, as in its row
	name   name
	drains bool  // it waited for its topic
	probe  bool  // it shows whether the topic still refuses its records
	behind bool  // it waits behind a parked event of its key
	size   int64 // of the letter
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

// publish hands replays to the sink. Of a key with a row that cannot be read, only what comes before that row is published.
func (p *Parker) publish(sink Replayer, replays []*replay, first bool) *group {
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
	if len(letters) == 0 {
		close(g.done)
		return g
	}
	sink.Replay(letters, first)
	for _, l := range letters {
		l.Value, l.Headers = nil, nil // the sink has copies
	}
	return g
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
	r := p.replays[l.Tx]
	drains := r != nil && r.drains
	if drains && r.probe && l.Head { // the topic refuses it, and not only this event
		l.Head = false
		p.keys.block(Waiting{Topic: r.name.topic, Code: l.Code, Detail: l.Detail, Cure: l.Cure})
	}
	p.mu.Unlock()
	switch {
	case drains && l.Head:
		p.logSparingly(l, "an event that waited for its topic is refused: it is parked, and later events of its topic and key wait behind it")
	case l.Head:
		p.cfg.Log.Warn("an event that was given back is refused again, and its key waits", "topic", l.Topic, "key", clip(l.Key), "position", l.At.String(), "reason", l.Code,
			"detail", l.Detail, "cure", "walpost dead-letter list")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r == nil {
		return
	}
	r.back = l
	switch {
	case !l.Head || r.letter.Key == nil:
	case drains:
		p.keys.refusedInDrain(r.name, l.At)
	default:
		p.keys.update(r.name, func(k *key) { k.refusedAt(l.At) })
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
