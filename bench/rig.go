package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/child"
	"walpost/internal/testenv/program"
)

// rig is the environment of the measurements.
type rig struct {
	options
	home     *child.Home
	postgres *pgtest.Server
	kafka    *kafkatest.Cluster
	database func(ctx context.Context, name string) (dsn string, err error) // creates one
	brokers  []string
	prefix   string // of topics
	walpost  string // the binary
	receiver string // pg_recvlogical; empty: this machine has none
	topics   int    // how many were created: each run has a fresh one
}

func newRig(ctx context.Context, o options) (*rig, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("read CPU and memory of other processes from /proc: that needs Linux")
	}
	r := &rig{options: o}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *rig) open(ctx context.Context) (err error) {
	if r.home, err = child.NewHome("walpost-bench-", nil); err != nil {
		return err
	}
	r.walpost = r.home.Path("walpost")
	if err := program.BuildRelease(ctx, r.walpost); err != nil {
		return err
	}
	r.postgres, err = pgtest.Launch(ctx, pgtest.Options{Major: r.major, Settings: map[string]string{
		// Settings for a server of this size. No checkpoint comes during a
		// round, and a commit is on disk before it returns.
		"fsync": "on", "shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "1h", "autovacuum": "off",
	}})
	if err != nil {
		return err
	}
	if r.kafka, err = kafkatest.Launch(ctx, kafkatest.Options{Java: []string{"-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"}}); err != nil {
		return err
	}
	r.database = func(ctx context.Context, name string) (string, error) {
		return r.postgres.DSN(name), r.postgres.CreateDatabase(ctx, name)
	}
	r.brokers, r.prefix = r.kafka.Brokers(), "bench"
	r.receiver = findReceiver(ctx)
	return nil
}

// close stops the servers. It may be called on a rig of which only a part is open.
func (r *rig) close() error {
	var errs []error
	if r.kafka != nil {
		errs = append(errs, r.kafka.Close())
	}
	if r.postgres != nil {
		errs = append(errs, r.postgres.Close())
	}
	if r.home != nil {
		errs = append(errs, r.home.Close())
	}
	return errors.Join(errs...)
}

// findReceiver returns the path of pg_recvlogical. Any version will do, because
// it does not interpret the messages.
func findReceiver(ctx context.Context) string {
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		path := filepath.Join(strings.TrimSpace(string(out)), "pg_recvlogical")
		if _, err := exec.LookPath(path); err == nil {
			return path
		}
	}
	path, _ := exec.LookPath("pg_recvlogical")
	return path
}

// setting describes the machine, the servers and the settings.
func (r *rig) setting() string {
	var b strings.Builder
	fmt.Fprintf(&b, "walpost on %d cores (%s), %s, everything on one machine over loopback\n", runtime.NumCPU(), cpuModel(), runtime.Version())
	fmt.Fprintf(&b, "Postgres %s (%s), fsync on; Kafka, one broker, %d partitions, acks=all, idempotent, all headers; compression of the drains: %s\n",
		r.postgres.Version(), r.postgres.Source(), r.partitions, r.codec)
	if r.receiver == "" {
		b.WriteString("pg_recvlogical was not found (pg_config --bindir, PATH): there are rates, but no ratio\n")
	}
	return b.String()
}

// start starts a walpost binary on a slot and a topic, with more environment variables.
func (r *rig) start(file string, b *backlog, slot, topic string, env ...string) (*program.Relay, error) {
	env = append(env, "WALPOST_POSTGRES_SLOT="+slot, "WALPOST_OUTBOX_TOPIC="+topic, "WALPOST_KAFKA_BOOTSTRAP_SERVERS="+r.brokers[0])
	return program.Start(r.home, program.Options{File: file, Env: append(b.environment(), env...), Log: r.home.Path(topic + ".log")})
}

// stop stops a relay cleanly.
func stop(ctx context.Context, relay *program.Relay) error {
	if err := relay.Terminate(ctx); err != nil {
		return fmt.Errorf("walpost after SIGTERM: %w", err)
	}
	return nil
}

// newTopic creates a topic for one run.
func (r *rig) newTopic(ctx context.Context) (string, error) {
	r.topics++
	name := fmt.Sprintf("%s-%d", r.prefix, r.topics)
	return name, kafkatest.CreateTopic(ctx, r.brokers, name, int32(r.partitions), nil)
}
