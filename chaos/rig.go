package main

import (
	"context"
	"errors"
	"runtime"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"walpost/chaos/kafkaproxy"
	"walpost/chaos/topics"
	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/child"
	"walpost/internal/testenv/program"
	"walpost/internal/testenv/proxy"
)

// rig is the environment of all rounds: the servers, and the proxies through which the relay reaches them. Everything else connects to the
// servers directly.
type rig struct {
	home     *child.Home
	walpost  string // the binary
	version  string // the commit that it was built from
	postgres *pgtest.Server
	kafka    *kafkatest.Cluster
	toPG     *proxy.Proxy
	toKafka  *kafkaproxy.Cluster
	client   *kgo.Client // for topics, leaders and partitions
}

// brokers is the number of brokers: enough for a majority without one of them.
const brokers = 3

func newRig(ctx context.Context) (*rig, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("read the relay's memory from /proc: that needs Linux")
	}
	r := &rig{}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *rig) open(ctx context.Context) (err error) {
	if r.home, err = child.NewHome("walpost-chaos-", nil); err != nil {
		return err
	}
	r.walpost, r.version = r.home.Path("walpost"), version()
	if err := program.Build(ctx, r.walpost, "-trimpath", "-buildvcs=false"); err != nil {
		return err
	}
	r.postgres, err = pgtest.Launch(ctx, pgtest.Options{Settings: map[string]string{
		"logical_decoding_work_mem": "64kB", // so that most transactions are spilled to disk
		"max_prepared_transactions": "100",
		"checkpoint_timeout":        "30s",
	}})
	if err != nil {
		return err
	}
	if err := r.addRole(ctx); err != nil {
		return err
	}
	if r.toPG, err = proxy.Launch(child.Address(r.postgres.Port())); err != nil {
		return err
	}
	if r.kafka, err = kafkatest.Launch(ctx, kafkatest.Options{Nodes: brokers, ACLs: true}); err != nil {
		return err
	}
	if r.toKafka, err = kafkaproxy.Launch(ctx, r.kafka.Brokers()); err != nil {
		return err
	}
	r.client, err = topics.NewClient(r.kafka.Brokers())
	return err
}

// addRole creates the relay's role. It has no rights yet.
func (r *rig) addRole(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, r.postgres.DSN("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CREATE ROLE "+relayRole+" LOGIN")
	return err
}

// close stops the servers. It may be called on a rig of which only a part is open.
func (r *rig) close() error {
	var errs []error
	if r.client != nil {
		r.client.Close()
	}
	if r.toKafka != nil {
		errs = append(errs, r.toKafka.Close())
	}
	if r.kafka != nil {
		errs = append(errs, r.kafka.Close())
	}
	if r.toPG != nil {
		r.toPG.Close()
	}
	if r.postgres != nil {
		errs = append(errs, r.postgres.Close())
	}
	if r.home != nil {
		errs = append(errs, r.home.Close())
	}
	return errors.Join(errs...)
}
