package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"walpost/cmd/walpost/internal/admin"
	"walpost/cmd/walpost/internal/config"
	"walpost/internal/latencytrace"
	"walpost/internal/reason"
	"walpost/relay"
	"walpost/sink"
	"walpost/sink/auth"
)

func (a *app) runCommand() *cobra.Command {
	return leaf(&cobra.Command{
		Use:   "run",
		Short: "Carry rows to Kafka until asked to stop",
		Long: `run is the relay. Schema walpost must exist: create it with walpost schema apply. The first start
creates the replication slot. It also creates the publication, if the role may do that.

On SIGTERM or SIGINT, run stops reading, waits for events in flight, confirms them, and exits with 0.
On a second signal it exits at once. A stop takes at most relay.shutdown_timeout and 5 s. docker stop
kills a container after 10 s: give it more time (docker stop -t 20, stop_grace_period: 20s), or lower
relay.shutdown_timeout to 5s.

Exit codes: 0 a clean stop; 1 a person has to act, because another start would fail, too: the last
line of the log says what to do; 2 a wrong command line or configuration, or another process has the
address in admin.listen; 130 a second signal.

run reads certificates, and passwords in files of their own, again for each connection. On SIGHUP it
reads the whole configuration again. It applies log.level, users, passwords and certificates, and
logs the keys whose change needs a restart.`,
		Example: `  walpost run --postgres-url 'postgres://walpost@db/shop?sslmode=verify-full' --kafka kafka:9092
  WALPOST_POSTGRES_URL_FILE=/run/secrets/url walpost run -c walpost.yaml`,
		RunE: verb(a.run),
	})
}

// run runs the relay, from reading the configuration to choosing the exit code.
func (a *app) run(cmd *cobra.Command) error {
	cfg, err := a.readConfig(cmd)
	if err != nil {
		return err
	}
	log, level, err := a.logger(cfg)
	if err != nil {
		return err
	}
	logStart(cfg, log)
	limitMemory(cfg)
	l := &liveConfig{load: func() (*config.Config, error) { return a.readConfig(cmd) }, level: level, log: log, cfg: cfg}
	if err := a.runRelay(cmd.Context(), cfg, l, log); err != nil {
		log.Error("walpost ends", "reason", cmp.Or(reason.Of(err), reason.Unexpected), "err", err)
		return &exitError{exitCode(err), nil}
	}
	log.Info("walpost stopped")
	return nil
}

// runRelay builds the parts, runs them and stops them in reverse order.
func (a *app) runRelay(ctx context.Context, cfg *config.Config, l *liveConfig, log *slog.Logger) error {
	signals, _ := catchSignals() // never released: one more signal would end the process without its last log line and its exit code
	defer l.reloadOnHangup()()
	registry, err := newRegistry(thisBuild())
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	server, err := admin.Start(cfg.Admin, thisBuild().version, registry, log) // first, so that waiting for the others is visible
	if err != nil {
		return &exitError{exitUsage, reason.With(reason.AdminServer, fmt.Errorf("start admin server: %w", err))}
	}
	defer server.Close()
	trace, err := latencytrace.FromEnvironment()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	defer func() {
		if err := trace.Close(); err != nil {
			log.Warn("the latency trace is incomplete", "err", err)
		}
	}()
	i := instruments{log, registry, trace}
	kafka, err := newSink(cfg, l.security, i)
	if err != nil {
		return fmt.Errorf("set up Kafka: %w", err)
	}
	relay, err := a.newRelay(cfg, l, kafka, i)
	if err != nil {
		return fmt.Errorf("set up relay: %w", err)
	}
	server.WatchSink(cfg.Postgres.Slot, kafka.Status)
	server.WatchRelay(relay.State)
	return runUntilStopped(ctx, relay, server, signals, log)
}

// logStart logs what is about to run, and the configuration's warnings.
func logStart(cfg *config.Config, log *slog.Logger) {
	log.Info("walpost starts", "version", thisBuild().version, "slot", cfg.Postgres.Slot, "publication", cfg.Postgres.Publication,
		"table", cfg.Outbox.Table, "topic", cfg.Outbox.Topic, "bootstrap.servers", cfg.Kafka.BootstrapServers)
	for _, w := range cfg.Warnings() {
		log.Warn("configuration: " + w)
	}
	if !cfg.Outbox.PositionHeader && cfg.Outbox.Profile != "debezium" {
		log.Info("outbox.position_header has no effect in this profile: records have ce_sequence instead", "profile", cfg.Outbox.Profile)
	}
	if cfg.Kafka.SecurityProtocol == "SASL_PLAINTEXT" && cfg.Kafka.SASLMechanism == "PLAIN" {
		log.Warn("kafka.sasl.password goes to the brokers unencrypted; set kafka.security.protocol to SASL_SSL")
	}
}

// besidesEvents is how much memory the process needs besides the events in flight, in bytes.
const besidesEvents = 24 << 20

// limitMemory makes the garbage collector keep the memory within what relay.max_in_flight_bytes promises. Without a limit, the collector
// lets garbage grow to the size of the memory in use. GOMEMLIMIT takes precedence.
func limitMemory(cfg *config.Config) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(cfg.Relay.MaxInFlightBytes) + besidesEvents)
	}
}

// instruments are the logger, metrics registry and trace that the parts report to.
type instruments struct {
	log      *slog.Logger
	registry prometheus.Registerer
	trace    *latencytrace.Recorder // nil: nothing is traced
}

// newSink returns the sink. renew returns the present login for each connection; nil: the login is always that of cfg.
func newSink(cfg *config.Config, renew func() auth.Security, i instruments) (*sink.Kafka, error) {
	c, err := cfg.Sink()
	if err != nil {
		return nil, err
	}
	c.Renew, c.Logger, c.Registerer, c.Trace = renew, i.log, i.registry, i.trace
	return sink.NewKafka(c)
}

// runner is the part of a relay that this package uses.
type runner interface {
	Run(ctx context.Context) error
	State() relay.State
}

type newRelayFunc func(*config.Config, *liveConfig, *sink.Kafka, instruments) (runner, error)

func newRelay(cfg *config.Config, l *liveConfig, kafka *sink.Kafka, i instruments) (runner, error) {
	c, err := cfg.RelayConfig()
	if err != nil {
		return nil, err
	}
	c.Renew, c.Logger, c.Registerer, c.Trace = l.connString, i.log, i.registry, i.trace
	c.OpenSink = func(ctx context.Context, acks relay.Acks) (relay.Sink, error) {
		p, err := kafka.Open(ctx, acks)
		if err != nil {
			return nil, err // and not a nil *Producer in an interface
		}
		return p, nil
	}
	return relay.New(c)
}

var errSecondSignal error = &exitError{exitSecondSignal, reason.With(reason.SecondSignal,
	errors.New("stopped at once on a second signal; the next run sends the events in flight again"))}
