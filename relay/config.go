package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"walpost/internal/latencytrace"
	"walpost/relay/postgres"
	"walpost/schema"
)

// Acks is what a sink reports to. Its methods may be called from any goroutine and do not block.
type Acks interface {
	// Acked reports that the events of runs are durable in the sink, which held bytes for them. Each published event is reported once.
	// runs is not kept.
	Acked(runs []schema.Run, bytes int)

	// Rejected reports that an event of transaction tx can never be delivered, and why. It counts as unacked for good.
	Rejected(tx uint64, err error)
}

// Sink takes events in order. Its methods are called from one goroutine.
type Sink interface {
	// Publish takes one event of transaction tx and returns how many bytes it holds until the event is acked. The event is a view that
	// is valid until Publish returns. An error means that the event can never be delivered: it is not held. One that has a method Incurable
	// returning true says that no setting can be corrected to change that.
	Publish(ev *schema.Event, tx uint64) (bytes int, err error)

	// Flush lets go what was published since the last Flush. Nothing of it was acked before. With flowing, more will be flushed within
	// milliseconds, as far as anybody can tell: the sink may wait that long for it, to make its requests large.
	Flush(flowing bool)

	// Close stops the sink. What it still holds is neither acked nor rejected.
	Close() error
}

// Config says what a relay works on and how. Slot, Publication, Table, Mapping, OpenSink, Logger and Registerer are required.
type Config struct {
	postgres.Config

	Backfill string // what happens to rows that are there at the first start: "publish" (or "") or "skip"

	MaxInFlightBytes int64         // what the sink may hold; one event may be larger. 0: 32 MiB
	ShutdownTimeout  time.Duration // how long leaving waits for acks. 0: 10 s

	// OpenSink opens a sink that reports to acks. It is called for the stream, and for a backfill, each time anew. ctx bounds the opening
	// and not the sink, which has to live on while the relay leaves. An error that has a method Permanent returning true ends Run, any
	// other is retried.
	OpenSink func(ctx context.Context, acks Acks) (Sink, error)

	Registerer prometheus.Registerer

	Trace *latencytrace.Recorder // where transactions and passes are recorded; nil: nowhere
}

func (c *Config) check() error {
	var errs []error
	require := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("relay: "+what))
		}
	}
	require(c.Slot != "", "no slot")
	require(c.Publication != "", "no publication")
	require(c.Table != schema.Table{}, "no table")
	require(c.OpenSink != nil, "no sink")
	require(c.Logger != nil, "no logger")
	require(c.Registerer != nil, "no metrics registerer")
	require(c.Backfill == "" || c.Backfill == "publish" || c.Backfill == "skip", fmt.Sprintf("backfill is %q, which is neither publish nor skip", c.Backfill))
	require(c.MaxInFlightBytes >= 0, "a negative byte budget")
	return errors.Join(errs...)
}
