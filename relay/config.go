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
	// Acked reports that the events of runs are durable in the sink, and that the sink no longer holds bytes for them. Each published event
	// is reported once. The callee does not keep runs.
	Acked(runs []schema.Run, bytes int)

	// Rejected reports that an event of transaction tx can never be delivered, and why. The event stays unacked for good.
	Rejected(tx uint64, err error)
}

// Sink takes events in order. Its methods are called from one goroutine.
type Sink interface {
	// Publish takes one event of transaction tx and returns how many bytes it holds until the event is acked. The event is a view that is
	// valid until Publish returns. An error means that the event can never be delivered; the sink does not hold it. If the error has a
	// method Incurable that returns true, no change of a setting can help.
	Publish(ev *schema.Event, tx uint64) (bytes int, err error)

	// Flush allows the sink to send the events that were published since the last Flush; before, it acks none of them. flowing says that
	// another Flush is likely within milliseconds. Then the sink may wait that long, to make its requests larger.
	Flush(flowing bool)

	// Close stops the sink. What it still holds is neither acked nor rejected.
	Close() error
}

// Config configures a relay. Slot, Publication, Table, Mapping, OpenSink, Logger and Registerer are required.
type Config struct {
	postgres.Config

	// Park is outbox.on_bad_event: park. Events that can never be delivered, and those that wait behind them, are parked in
	// walpost.dead_letters. Otherwise such an event stops the relay.
	Park bool

	// MaxParkedBytes limits the keys, values and headers of all events in walpost.dead_letters that wait. Beyond it, events that are to be
	// parked wait in memory. 0: no limit.
	MaxParkedBytes int64

	Backfill string // what to do with rows that are in the outbox at the first start: "publish" (or "") or "skip"

	MaxInFlightBytes int64         // most bytes that the sink may hold; a single event may be larger. 0: 32 MiB
	ShutdownTimeout  time.Duration // how long a stop waits for acks. 0: 10 s

	// OpenSink opens a new sink that reports to acks. The relay calls it for the stream, and for each backfill. ctx limits the opening
	// only: the sink has to work on while the relay stops. An error that has a method Permanent returning true ends Run; any other error is
	// retried.
	OpenSink func(ctx context.Context, acks Acks) (Sink, error)

	Registerer prometheus.Registerer

	Trace *latencytrace.Recorder // records transactions and passes; nil: they are not recorded
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
