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
		Short: "Print events as JSON lines from now on; needs no Kafka, moves no slot",
		Long: `tail prints what is committed from now on, whether a relay runs or not: it streams from a temporary
slot of its own, which is gone when it ends, and writes nothing to the database. It needs the
publication, a login with REPLICATION, and a free replication slot and WAL sender; no Kafka, no
schema walpost.

A line is the record that Kafka would get: topic, partition where the row names one, key, id, type,
time (ce_time), sequence (ce_sequence), timestamp (the record's), headers, payload. JSON payloads
stand there as JSON, text as a string, bytea as {"base64": "..."}, a tombstone as null. An event that
could never be published is told on stderr, and the next one follows.

It ends with 0 at SIGINT or SIGTERM, and when nobody reads its output any more; with 1 when the
connection ends, and when its output takes nothing for a minute, for the server keeps WAL meanwhile.`,
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
	c.Slot = "" // it has one of its own
	ctx, release := a.untilReaderGone(cmd.Context())
	defer release()
	err = tail.Run(ctx, c, stdout.New(a.stdout, records.Record))
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// untilReaderGone returns a context that ends with a signal, and when nobody reads stdout any more: head has its lines long before the
// next event comes and finds the pipe closed.
func (a *app) untilReaderGone(ctx context.Context) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals, releaseSignals := catchSignals()
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE) // or the first write to a closed pipe would end the process, slot and all
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
