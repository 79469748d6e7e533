package parking

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/relay/deadletter"
	"walpost/schema"
)

// survey looks at walpost.dead_letters for what people have done.
type survey struct {
	p      *Parker
	c      *connection
	busy   map[string]bool // topics of which something is being published
	looked time.Time       // when it last looked for what is given back
	given  time.Time       // when to look again for that
	next   time.Time       // when to look again at the whole table
	purged time.Time       // when old dead letters were last purged

	beyond map[string]bool // topics of which something is given back at a position beyond the server's WAL

	strangers map[name]bool   // keys that the table had when it was last looked at, and that nobody knew
	topics    map[string]bool // the same of topics for which events wait
}

// surveyShare is which part of the time looking may take: one part in so many.
const surveyShare = 20

// lookIdleEvery is how often it looks for what is given back while nothing is known to be parked. There is an index for that.
const lookIdleEvery = time.Minute

// look returns the topics of what is given back. Now and then it also counts what is parked, and lets keys flow of which nothing is parked any
// more, because it was discarded. While nothing is parked, it looks once a minute only: somebody may set rows back by hand.
func (s *survey) look(ctx context.Context, holder string, sink Replayer) (given []string, err error) {
	p := s.p
	if time.Since(s.purged) > purgeEvery {
		reached := p.cfg.Reached()
		if !p.stillHolds(holder) { // it may be another session's
			return nil, nil
		}
		more, err := purge(ctx, s.c, holder, reached)
		if err != nil && ctx.Err() == nil && p.stillHolds(holder) {
			p.cfg.Log.Warn("old dead letters are not deleted; walpost tries again in an hour", "err", p.cfg.Classify(err))
		}
		if !more {
			s.purged = time.Now()
		}
	}
	idle := !p.look.Load()
	if idle && time.Since(s.looked) < lookIdleEvery {
		s.c.close()
		return nil, nil
	}
	if time.Now().Before(s.given) {
		return nil, nil
	}
	began := time.Now()
	if err = s.c.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		s.beyond = map[string]bool{}
		rows, err := conn.Query(ctx, `select coalesce(topic, ''), bool_or(`+deadletter.Beyond+`) from walpost.dead_letters where slot = $1 and state = 'retrying' group by 1`, p.cfg.Slot)
		if err == nil {
			var topic string
			var beyond bool
			_, err = pgx.ForEachRow(rows, []any{&topic, &beyond}, func() error {
				given, s.beyond[topic] = append(given, topic), beyond
				return nil
			})
		}
		if err != nil {
			return fmt.Errorf("look for dead letters that are given back: %w", err)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	s.looked = time.Now()
	s.given = time.Now().Add(surveyShare * time.Since(began))
	if idle && len(given) == 0 {
		s.c.close()
		return nil, nil
	}
	p.look.Store(true)
	if time.Now().Before(s.next) {
		return given, nil
	}
	began = time.Now()
	err = s.whole(ctx, holder, sink)
	s.next = time.Now().Add(surveyShare * time.Since(began))
	return given, err
}

// whole looks at the whole table. It takes the lock of the slot's state only to let keys flow.
func (s *survey) whole(ctx context.Context, holder string, sink Replayer) error {
	p := s.p
	p.look.Store(false) // before the query: what is parked meanwhile sets it again
	var t table
	var strange, bytes int64
	err := s.c.snapshot(ctx, func() { bytes = p.bytes.Load() }, func(ctx context.Context, tx pgx.Tx) (err error) {
		if strange, err = deadletter.CountStrange(ctx, tx, p.cfg.Slot); err == nil {
			t.parked, t.events, t.bytes, err = readKeys(ctx, tx, p.cfg.Slot)
		}
		if err == nil {
			t.topics, err = findTopics(ctx, tx, p.cfg.Slot)
		}
		return err
	})
	if err == nil && strange > 0 {
		p.look.Store(true)
		return s.c.inTx(ctx, holder, func(ctx context.Context, tx pgx.Tx) error { return deadletter.RepairStates(ctx, tx, p.cfg.Slot) })
	}
	if err == nil {
		p.letters.Store(t.events)
		p.bytes.Add(t.bytes - bytes) // what has come meanwhile stays
		s.find(t.topics)
		s.addStrangers(t.parked)
		gone := p.keys.names(func(n name, k *key) bool {
			_, found := t.parked[n]
			if p.keys.topics[n.topic] != nil && (s.busy[n.topic] || k.absorbed) {
				return false // rows of a round may come to wait behind the key; the drain makes it wait for the topic
			}
			return !found && k.pending == 0 && k.last == nil
		})
		if len(gone) > 0 {
			err = s.letFlow(ctx, holder, sink, gone)
		}
	}
	if err != nil || t.events > 0 || p.keys.any() {
		p.look.Store(true)
	}
	return err
}

// addStrangers parks the keys that the table has and that nobody knows: somebody has edited their rows. A key may have begun to flow since the
// table was read. So only keys count that nobody knew the last time, too.
func (s *survey) addStrangers(parked map[name]schema.Position) {
	strangers := map[name]bool{}
	for _, n := range s.p.keys.unknown(parked) {
		if strangers[n] = true; s.strangers[n] {
			s.p.keys.add(n, parked[n])
		}
	}
	s.strangers = strangers
}

// find notes for which topics events wait. Like a key, a topic that nobody knows counts when it was unknown the last time, too.
func (s *survey) find(topics []Waiting) {
	unknown := map[string]bool{}
	over := s.p.keys.find(topics, func(topic string) (begins bool) {
		unknown[topic] = true
		return s.topics[topic]
	})
	s.topics = unknown
	for _, topic := range over {
		s.p.cfg.Log.Info("nothing waits for a topic any more: it flows, if it takes records", "topic", topic)
	}
}

// letFlow lets those of the keys flow of which nothing is parked.
func (s *survey) letFlow(ctx context.Context, holder string, sink Replayer, keys []name) error {
	defer s.p.endLast(keys)
	var over []name
	err := s.c.inTx(ctx, holder, func(ctx context.Context, tx pgx.Tx) (err error) {
		over, err = s.p.over(ctx, tx, keys)
		return err
	})
	if err == nil {
		s.p.flow(ctx, sink, over)
	}
	return err
}
