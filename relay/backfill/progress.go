package backfill

import (
	"fmt"
	"sync"
	"time"
)

// progressEvery is how often a backfill tells how far it is.
const progressEvery = 3 * time.Second

// report tells how far the backfill is, in the state at once and again and again, in the log again and again, until stop is called.
func (b *Backfill) report(total int64) (stop func()) {
	tell := func(acked int64) {
		b.Status(fmt.Sprintf("backfill: %d of %d rows of %s are acked", acked, total, b.Source.Table))
	}
	tell(0)
	ended := make(chan struct{})
	var teller sync.WaitGroup
	teller.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		before, at := int64(0), time.Now()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			acked, now := b.acked(), time.Now()
			tell(acked)
			b.Logger.Info("backfill: progress", "rows_acked", acked, "rows", total, "rows_per_second", int64(float64(acked-before)/now.Sub(at).Seconds()))
			before, at = acked, now
		}
	})
	return func() { close(ended); teller.Wait() }
}

// acked is how many rows are durable in the sink. Rows that are handed over at this moment may be taken for unacked rows of before.
func (b *Backfill) acked() int64 {
	handed := b.handed.Load()
	return max(handed-b.Tracker.Load().Unacked, 0)
}

// account tells the metrics what was acked since the last time. The reader alone calls it.
func (b *Backfill) account() {
	if acked := b.acked(); acked > b.counted {
		b.Done.Add(float64(acked - b.counted))
		b.counted = acked
	}
}
