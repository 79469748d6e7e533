package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"walpost/relay/tail"
	"walpost/sink/stdout"
)

func (a *app) tailCommand() *cobra.Command {
	return leaf(&cobra.Command{
		Use:   "tail",
		Short: "Print new events as JSON lines; needs no Kafka, moves no slot",
		Long: `tail prints the events that are committed from now on, whether a relay runs or not. It streams from a
temporary slot of its own, which is dropped when tail ends, and writes nothing to the database. It
needs the publication, a login with REPLICATION, and a free replication slot and WAL sender. It needs
neither Kafka nor schema walpost.

A line is the record that Kafka would get: topic, partition (if the row names one), key, id, type,
time (ce_time), sequence (ce_sequence), timestamp (the record's), headers, payload. A JSON payload is
printed as JSON, text as a string, bytea as {"base64": "..."}, a tombstone as null. If an event could
never be published, tail prints the reason to stderr and goes on with the next event.

tail exits with 0 on SIGINT or SIGTERM, and when nothing reads its output any more. It exits with 1
when the connection ends. It also exits with 1 when its output blocks for a minute, because the server
keeps WAL meanwhile.`,
		Example: `  walpost tail
  walpost tail | head -1
  walpost tail --table shop.events | jq -r 'select(.topic == "outbox.event.order") | [.key, .type] | @tsv'`,
		RunE: verb(a.tail),
	})
}

func (a *app) tail(cmd *cobra.Command) error {
	cfg, c, err := a.loadPostgresConfig(cmd)
	if err != nil {
		return err
	}
	records, err := cfg.Sink()
	if err != nil {
		return err
	}
	if c.Logger, _, err = a.logger(cfg); err != nil {
		return err
	}
	c.Slot = "" // tail has a slot of its own
	ctx, release := a.untilReaderGone(cmd.Context())
	defer release()
	err = tail.Run(ctx, c, stdout.New(a.stdout, records.Record))
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// untilReaderGone returns a context that ends with a signal, or when nothing reads stdout any more. Waiting for a failed write would take
// too long: head has its lines long before the next event comes and finds the pipe closed.
func (a *app) untilReaderGone(ctx context.Context) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals, releaseSignals := catchSignals()
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE) // otherwise the first write to a closed pipe would end the process at once
	go func() {
		select {
		case <-ctx.Done():
		case <-signals:
			cancel()
		}
	}()
	if f, ok := a.stdout.(*os.File); ok {
		onReaderGone(f, cancel)
	}
	return ctx, func() { cancel(); releaseSignals(); signal.Stop(pipe) }
}
