package backfill

import (
	"fmt"
	"sync"
	"time"
)

// progressEvery is how often a backfill reports its progress.
const progressEvery = 3 * time.Second

// report reports the progress of the backfill every few seconds, in the log and by Status, until stop is called. It calls Status at once,
// too.
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

// acked returns how many rows are durable in the sink. If rows are being handed over at this moment, the result may be too low.
func (b *Backfill) acked() int64 {
	handed := b.handed.Load()
	return max(handed-b.Tracker.Load().Unacked, 0)
}

// account adds the rows that were acked since the last call to the metrics. Only the goroutine that reads the rows calls it.
func (b *Backfill) account() {
	if acked := b.acked(); acked > b.counted {
		b.Done.Add(float64(acked - b.counted))
		b.counted = acked
	}
}
