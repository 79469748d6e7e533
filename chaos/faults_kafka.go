package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/chaos/topics"
	"walpost/chaos/verdict"
	"walpost/internal/kafkatest"
	"walpost/internal/testenv/poll"
)

func kafkaFaults() []fault {
	return []fault{
		{"Kafka: the relay's connections cut", 170, brief, func(ctx context.Context, r *round) error {
			return r.toKafka.Cut()
		}},
		{"Kafka: connections stalled towards the brokers", 4, 0, stalledKafka(true, false)},
		{"Kafka: connections stalled towards the relay", 4, 0, stalledKafka(false, true)},
		{"Kafka: half-open connections", 4, 0, stalledKafka(true, true)},
		{"Kafka: broker kill -9", 20, brief, func(ctx context.Context, r *round) error {
			id := r.broker()
			if err := r.kafka.Kill(id); err != nil {
				return err
			}
			if err := r.hold(ctx, 0, 3*time.Second); err != nil {
				return err
			}
			return r.back(ctx, id)
		}},
		{"Kafka: rolling restart", 4, 0, func(ctx context.Context, r *round) error {
			for id := 1; id <= brokers; id++ {
				if err := r.kafka.Stop(ctx, id); err != nil {
					return err
				}
				if err := r.back(ctx, id); err != nil {
					return err
				}
			}
			return nil
		}},
		{"Kafka: broker frozen", 8, 0, func(ctx context.Context, r *round) error {
			id := r.broker()
			if err := r.kafka.Freeze(id); err != nil {
				return err
			}
			if err := r.hold(ctx, 2*time.Second, 14*time.Second); err != nil { // at times longer than the broker's session with the controller
				return err
			}
			return errors.Join(r.kafka.Thaw(id), topics.AwaitLeaders(ctx, r.client, r.topics()...))
		}},
		{"Kafka: leaders moved", 60, brief, func(ctx context.Context, r *round) error { return topics.MoveLeaders(ctx, r.client, r.topic(orders)) }},
		{"Kafka: min.insync.replicas lost", 4, 0, func(ctx context.Context, r *round) error {
			return r.without(ctx, 2, 4*time.Second)
		}},
		{"Kafka: all brokers gone for longer than wal_sender_timeout", 4, 0, func(ctx context.Context, r *round) error {
			return r.without(ctx, brokers, 7*time.Second)
		}},
		{"Kafka: topic deleted and created again", 15, brief, func(ctx context.Context, r *round) error { return r.recreate(ctx, r.topic(doomed)) }},
		{"Kafka: partitions added", 15, brief, func(ctx context.Context, r *round) error {
			if err := topics.Grow(ctx, r.client, r.topic(payments)); err != nil {
				return err
			}
			return errors.Join(r.toKafka.Cut(), r.awaitUse(ctx, r.topic(payments))) // the cut makes the relay query the metadata at once
		}},
		{"Kafka: partitions added, while nothing fails", 2, 0, func(ctx context.Context, r *round) error {
			return errors.Join(topics.Grow(ctx, r.client, r.topic(payments)), r.awaitUse(ctx, r.topic(payments)))
		}},
	}
}

func (r *round) broker() int { return 1 + r.r.IntN(brokers) }

// back starts a broker again and waits until its replicas are in sync.
func (r *round) back(ctx context.Context, id int) error {
	if err := r.kafka.StartNode(ctx, id); err != nil {
		return err
	}
	return topics.AwaitLeaders(ctx, r.client, r.topics()...)
}

// without kills n brokers at once for a while. The controllers may lose their majority by that.
func (r *round) without(ctx context.Context, n int, gone time.Duration) error {
	first := r.broker()
	ids := make([]int, n)
	for i := range ids {
		ids[i] = 1 + (first+i)%brokers
		if err := r.kafka.Kill(ids[i]); err != nil {
			return err
		}
	}
	if err := r.hold(ctx, gone, gone+2*time.Second); err != nil {
		return err
	}
	// The outage has to last until the budget has stopped the reader, or it would test nothing.
	if err := r.relay.awaitFull(ctx); err != nil {
		return err
	}
	started := make(chan error, n)
	for _, id := range ids { // no broker is up before a majority is, so they start together
		go func() { started <- r.kafka.StartNode(ctx, id) }()
	}
	var err error
	for range ids {
		err = errors.Join(err, <-started)
	}
	return errors.Join(err, topics.AwaitLeaders(ctx, r.client, r.topics()...))
}

// stalledKafka stalls the existing connections. New ones work: the relay has to notice and to connect again.
func stalledKafka(up, down bool) func(ctx context.Context, r *round) error {
	return func(ctx context.Context, r *round) error {
		if err := r.toKafka.Stall(up, down); err != nil {
			return err
		}
		err := r.awaitMore(ctx)
		return errors.Join(err, r.toKafka.Heal())
	}
}

// awaitUse waits until each partition of a topic has a record.
func (r *round) awaitUse(ctx context.Context, topic string) error {
	return poll.Until(ctx, func() (bool, error) {
		ends, err := topics.Ends(ctx, r.client, topic)
		if err != nil {
			return false, nil // leaders are being elected
		}
		return !slices.Contains(slices.Collect(maps.Values(ends)), 0), nil
	})
}

// recreate reads a topic, deletes it and, a while later, creates it again.
func (r *round) recreate(ctx context.Context, topic string) error {
	return errors.Join(r.remove(ctx, topic), r.hold(ctx, 0, time.Second), r.restore(ctx, topic))
}

// remove reads a topic and deletes it.
func (r *round) remove(ctx context.Context, topic string) error {
	purge := verdict.Purge{Topic: topic}
	err := r.ask(ctx, func(conn *pgx.Conn) (done bool, err error) {
		purge.Confirmed, err = confirmedLSN(ctx, conn, r.name)
		return true, err
	})
	if err != nil {
		return err
	}
	records, err := r.readTopic(ctx, topic)
	if err != nil {
		return err
	}
	r.earlier = append(r.earlier, records...)
	if err := topics.Delete(ctx, r.client, topic); err != nil {
		return err
	}
	if err := topics.AwaitGone(ctx, r.client, topic); err != nil {
		return err
	}
	purge.Gone = time.Now()
	r.purges = append(r.purges, purge)
	return nil
}

// restore creates a topic again that was removed.
func (r *round) restore(ctx context.Context, topic string) error {
	return poll.Until(ctx, func() (bool, error) {
		err := kafkatest.CreateTopic(ctx, r.kafka.Brokers(), topic, 2, settings(doomed))
		return err == nil, nil // it exists until the deletion is complete
	})
}
