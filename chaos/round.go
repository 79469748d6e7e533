package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/chaos/topics"
	"walpost/chaos/verdict"
	"walpost/internal/kafkatest"
	"walpost/internal/testenv/child"
	"walpost/internal/testenv/poll"
)

// round is a fresh database and fresh topics. Some faults are caused one after another, and then the records are judged.
type round struct {
	*rig
	n         int
	seed      uint64
	name      string // of the database and the slot; with a dot, what topics' names begin with
	budget    int64  // relay.max_in_flight_bytes
	r         *rand.Rand
	conn      *pgx.Conn // nil: to be opened
	relay     *keeper
	load      *workload
	struck    []struck
	stuck     []string // what else went wrong
	purges    []verdict.Purge
	refused   []*verdict.Refusal // when the brokers refused events
	blocked   []*verdict.Blocked // when the events of a topic were parked because it took no records
	discarded map[string]bool    // ids of the events that were discarded
	earlier   []verdict.Record   // of topics that were deleted afterwards
}

// relay.max_in_flight_bytes is tight in most rounds, so that it is used up soon. In each fourth round it is usual, walpost's default.
// headroom is how much memory the relay may take besides.
const (
	tight    = 4 << 20
	usual    = 32 << 20
	headroom = 48 << 20
)

// senderTimeout is the wal_sender_timeout of the relay's sessions.
const senderTimeout = "3s"

// requestTimeout is the relay's kafka.request.timeout.ms.
const requestTimeout = "10000"

// partitions is the number of partitions of each topic at first.
var partitions = map[string]int32{orders: 6, payments: 2, doomed: 2, stamped: 2}

// settings returns the settings of a topic. Its records have the broker's time of the append. In the topic stamped they have the time that
// walpost sets, and retention is off, so that records of ten years ago stay.
func settings(aggregate string) map[string]string {
	if aggregate == stamped {
		return map[string]string{"retention.ms": "-1"}
	}
	return map[string]string{"message.timestamp.type": "LogAppendTime"}
}

// errStuck ends a round whose relay does not recover.
var errStuck = errors.New("the relay does not recover")

// run runs a round. An error is one of the rig; errors of the relay are in the report. try distinguishes repetitions of a round: they have
// different names of database and topics, and draw the same random numbers.
func (g *rig) run(ctx context.Context, n, try int, seed uint64, faults []fault) (rep report, err error) {
	r := &round{rig: g, n: n, seed: seed, name: fmt.Sprintf("chaos_%d_%d", n, try), r: rand.New(rand.NewPCG(seed, uint64(n)+1)), budget: tight, discarded: make(map[string]bool)}
	if n%4 == 0 {
		r.budget = usual
	}
	if slices.ContainsFunc(faults, func(f fault) bool { return f.name == clockOfRelay }) {
		if _, err := g.jumping(ctx); err != nil {
			return rep, err
		}
	}
	if err := r.open(ctx); err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, r.close(context.WithoutCancel(ctx))) }()
	began := time.Now()
	sampling := newSampler(ctx, r.postgres.DSN(r.name), r.name, r.relay)
	defer sampling.stop()
	r.load = startWorkload(ctx, r.postgres.DSN(r.name), n, seed)
	if err := r.within(ctx, r.awaitMore); err != nil {
		return rep, fmt.Errorf("before any fault: %w\n%s", err, child.LastLines(r.relay.log, 20))
	}
	for _, f := range faults {
		if err = r.bring(ctx, f); err != nil {
			break
		}
	}
	claims := r.load.stop()
	if err != nil && !errors.Is(err, errStuck) {
		return rep, fmt.Errorf("%w\n%s", err, child.LastLines(r.relay.log, 20))
	}
	if err == nil {
		if err := r.within(ctx, r.awaitConfirmed); err != nil && ctx.Err() == nil {
			r.stuck = append(r.stuck, "at the end: "+err.Error())
		}
		// Events that were on their way to walpost.dead_letters when their keys were given back come back by themselves. If they do not, history
		// notes it.
		flowing, cancel := context.WithTimeout(ctx, flowsWithin)
		_ = poll.Until(flowing, func() (bool, error) {
			left, err := r.letters(flowing, stillParked)
			return left == 0, err
		})
		cancel()
	}
	if err := r.relay.stop(ctx); err != nil {
		r.stuck = append(r.stuck, err.Error())
	}
	samples, memory := sampling.stop()
	h, err := r.history(ctx, began, claims, samples)
	if err != nil {
		return rep, err
	}
	rep = newReport(r, h, memory)
	rep.Took = time.Since(began)
	return rep, nil
}

// open makes the database, the topics and the two slots, and starts the relay.
func (r *round) open(ctx context.Context) error {
	if err := r.postgres.CreateDatabase(ctx, r.name); err != nil {
		return err
	}
	for name, n := range partitions {
		if err := kafkatest.CreateTopic(ctx, r.kafka.Brokers(), r.topic(name), n, settings(name)); err != nil {
			return err
		}
	}
	env, err := r.environment()
	if err != nil {
		return err
	}
	owner := []string{"PATH=" + os.Getenv("PATH"), "WALPOST_POSTGRES_URL=" + r.postgres.DSN(r.name)}
	if _, err := r.home.Run(ctx, r.walpost, owner, "schema", "apply", "--relay-role", relayRole); err != nil {
		return err
	}
	if err := r.sql(ctx, noteWaiting); err != nil {
		return err
	}
	r.relay = newKeeper(r.home, r.walpost, r.name, env, r.budget)
	if err := r.relay.start(); err != nil {
		return err
	}
	// Both slots exist before the first row.
	if err := r.within(ctx, func(ctx context.Context) error { return r.confirmed(ctx, 1) }); err != nil {
		return fmt.Errorf("wait for the relay's slot: %w\n%s", err, child.LastLines(r.relay.log, 20))
	}
	_, err = r.conn.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", r.name+"_order")
	return err
}

// noteWaiting keeps which events have waited for their topics. Their dead letters are deleted when they are published.
const noteWaiting = `CREATE TABLE waited (event_id text PRIMARY KEY, parked_at timestamptz);
	CREATE FUNCTION waited() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
		INSERT INTO public.waited VALUES (NEW.event_id, NEW.parked_at) ON CONFLICT DO NOTHING; RETURN NULL; END $$;
	CREATE TRIGGER waited AFTER INSERT OR UPDATE ON walpost.dead_letters FOR EACH ROW WHEN (NEW.reason = 'topic_blocked' AND NEW.state = 'waiting') EXECUTE FUNCTION waited()`

func (r *round) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r.relay.close()
	var errs []error
	if r.conn != nil {
		r.conn.Close(ctx)
	}
	errs = append(errs, r.postgres.DropDatabase(ctx, r.name))
	for _, topic := range r.topics() {
		errs = append(errs, topics.Delete(ctx, r.client, topic))
	}
	return errors.Join(errs...)
}

func (r *round) topic(aggregate string) string { return r.name + "." + aggregate }

// generation returns how often a topic was deleted so far.
func (r *round) generation(topic string) (n int) {
	for _, p := range r.purges {
		if p.Topic == topic {
			n++
		}
	}
	return n
}

func (r *round) topics() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(partitions)) {
		names = append(names, r.topic(name))
	}
	return names
}

// relayRole is the role of the relay. It has the rights that walpost schema apply grants, and no others.
const relayRole = "chaos_relay"

// environment returns walpost's whole configuration. Both servers are behind proxies.
func (r *round) environment() ([]string, error) {
	u, err := url.Parse(r.postgres.DSN(r.name))
	if err != nil {
		return nil, err
	}
	u.Host, u.User = r.toPG.Address(), url.User(relayRole)
	query := u.Query()
	query.Set("wal_sender_timeout", senderTimeout) // so that a dead connection is noticed within a round
	u.RawQuery = query.Encode()
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"WALPOST_POSTGRES_URL=" + u.String(),
		"WALPOST_POSTGRES_SLOT=" + r.name,
		"WALPOST_OUTBOX_TOPIC=" + r.name + ".{aggregatetype}",
		"WALPOST_OUTBOX_COLUMNS_TIMESTAMP=created_at",
		"WALPOST_KAFKA_BOOTSTRAP_SERVERS=" + strings.Join(r.toKafka.Addresses(), ","),
		"WALPOST_KAFKA_REQUEST_TIMEOUT_MS=" + requestTimeout, // so that a dead connection is noticed within a round
		fmt.Sprintf("WALPOST_RELAY_MAX_IN_FLIGHT_BYTES=%d", r.budget),
		"WALPOST_RELAY_SHUTDOWN_TIMEOUT=5s",
	}, nil
}

// awaitConfirmed waits until everything that is committed now is confirmed. If the relay is correct, all of it is in Kafka then.
func (r *round) awaitConfirmed(ctx context.Context) error {
	end, err := r.written(ctx)
	if err != nil {
		return err
	}
	return r.confirmed(ctx, end)
}

// awaitMore does the same as awaitConfirmed, and waits until something later is confirmed too. While writers write, that shows that the
// relay works.
func (r *round) awaitMore(ctx context.Context) error {
	end, err := r.written(ctx)
	if err != nil {
		return err
	}
	return r.confirmed(ctx, end+1)
}

// within calls wait with the time limit of a recovery.
func (r *round) within(ctx context.Context, wait func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, recovering)
	defer cancel()
	return wait(ctx)
}

// written returns the LSN up to which the WAL is on disk.
func (r *round) written(ctx context.Context) (end uint64, err error) {
	err = r.ask(ctx, func(conn *pgx.Conn) (bool, error) {
		return true, conn.QueryRow(ctx, "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint").Scan(&end)
	})
	return end, err
}

// confirmed waits until the slot is confirmed up to an LSN.
func (r *round) confirmed(ctx context.Context, end uint64) error {
	return r.ask(ctx, func(conn *pgx.Conn) (bool, error) {
		have, err := confirmedLSN(ctx, conn, r.name)
		return have >= end, err
	})
}

// ask calls do until it is done. It connects again when the session is lost.
func (r *round) ask(ctx context.Context, do func(conn *pgx.Conn) (done bool, err error)) error {
	var last error
	err := poll.Until(ctx, func() (done bool, _ error) {
		if r.conn == nil {
			if r.conn, last = pgx.Connect(ctx, r.postgres.DSN(r.name)); last != nil {
				r.conn = nil
				return false, nil
			}
		}
		if done, last = do(r.conn); last != nil {
			r.conn.Close(ctx)
			r.conn = nil
			return false, nil
		}
		return done, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

// history collects the results of the round for the verdict.
func (r *round) history(ctx context.Context, began time.Time, claims []verdict.Claim, samples []verdict.Sample) (h verdict.History, err error) {
	h.Spans = []verdict.Span{{Fault: beforeFaults, Begin: began}}
	for _, s := range r.struck {
		h.Spans = append(h.Spans, verdict.Span{Fault: s.fault.name, Begin: s.begin, Repeats: s.fault.is(repeats), Refuses: s.fault.is(refuses), Dead: s.dead, Overtaken: s.overtaken})
		if s.fault.name == clockOfRelay {
			h.Skew = relayOff
		}
	}
	h.Claims, h.Samples, h.Purges, h.Records = claims, samples, r.purges, r.earlier
	for _, one := range r.refused {
		h.Refusals = append(h.Refusals, *one)
	}
	for _, one := range r.blocked {
		h.Blocked = append(h.Blocked, *one)
	}
	for _, topic := range r.topics() {
		records, err := r.readTopic(ctx, topic)
		if err != nil {
			return h, err
		}
		h.Records = append(h.Records, records...)
	}
	conn, err := pgx.Connect(ctx, r.postgres.DSN(r.name))
	if err != nil {
		return h, err
	}
	defer conn.Close(ctx)
	if h.Rows, err = commits(ctx, conn, r.name+"_order", r.name); err != nil {
		return h, err
	}
	return h, r.parked(ctx, conn, h.Rows)
}

// beforeFaults is the name of the time before the first fault.
const beforeFaults = "before the first fault"
