package parking

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/relay/deadletter"
)

// counter counts the rows that wait for topics. There may be millions of them, so it has a goroutine and a connection of its own. What this
// process writes is counted as it is written. The rows are counted for what it cannot know: what was there before, and what people change.
type counter struct {
	p    *Parker
	next time.Time // when to count again
	told string    // why they cannot be counted, as it was logged
}

// countLimit is how long one count may take.
const countLimit = 10 * time.Minute

// run counts now and then, while topics take no records, until ctx is done.
func (r *counter) run(ctx context.Context) {
	c := r.p.connection()
	c.limit = countLimit
	defer c.close()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		holder, _ := r.p.held()
		if holder == "" || len(r.p.keys.counts()) == 0 {
			c.close()
			r.next = time.Time{}
			continue
		}
		if time.Now().Before(r.next) {
			continue
		}
		began := time.Now()
		r.tell(ctx, r.count(ctx, c))
		r.next = time.Now().Add(surveyShare * time.Since(began))
	}
}

// count counts the rows once. If there are as many as this process has counted, their bytes are known, too, and are not read: for a million rows,
// that would take the processor from what publishes and parks for seconds.
func (r *counter) count(ctx context.Context, c *connection) error {
	var before map[*topic]Waiting
	var rows []deadletter.ByTopic
	known := false
	err := c.snapshot(ctx, func() { before = r.p.keys.counts() }, func(ctx context.Context, tx pgx.Tx) error {
		events, err := deadletter.CountByTopic(ctx, tx, r.p.cfg.Slot)
		if err != nil {
			return err
		}
		if known = agree(events, before); !known {
			rows, err = deadletter.Topical(ctx, tx, r.p.cfg.Slot)
		}
		return err
	})
	if err == nil && !known {
		r.p.keys.recount(rows, before)
	}
	return err
}

// agree reports whether as many events wait for each topic as was counted.
func agree(events map[string]int64, counted map[*topic]Waiting) bool {
	for _, w := range counted {
		if events[w.Topic] != w.Events {
			return false
		}
	}
	return true
}

// tell logs why the rows cannot be counted, once for each reason.
func (r *counter) tell(ctx context.Context, err error) {
	text := ""
	if err != nil && ctx.Err() == nil {
		text = err.Error()
	}
	if text != "" && text != r.told {
		r.p.cfg.Log.Warn("what waits for topics cannot be counted; walpost tries again", "err", r.p.cfg.Classify(err))
	}
	r.told = text
}

// counts returns what is counted of each topic.
func (k *keys) counts() map[*topic]Waiting {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make(map[*topic]Waiting, len(k.topics))
	for _, t := range k.topics {
		all[t] = t.Waiting
	}
	return all
}

// recount sets what a count has found. before is what counts has returned at the moment of the count. What has changed since is added. A topic
// that began to wait later is left out.
func (k *keys) recount(rows []deadletter.ByTopic, before map[*topic]Waiting) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := make(map[string]deadletter.ByTopic, len(rows))
	for _, one := range rows {
		found[one.Topic] = one
	}
	for name, t := range k.topics {
		if was, known := before[t]; known {
			t.add(found[name].Events-was.Events, found[name].Bytes-was.Bytes)
		}
	}
}

// bytes returns the bytes of what waits for topics.
func (k *keys) bytes() (n int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range k.topics {
		n += t.state().Bytes
	}
	return n
}
