package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"walpost/chaos/verdict"
	"walpost/internal/kafkatest"
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
			if err := r.hold(ctx, 2*time.Second, 14*time.Second); err != nil { // longer than its session with the controller
				return err
			}
			return errors.Join(r.kafka.Thaw(id), r.awaitLeaders(ctx, r.topics()))
		}},
		{"Kafka: leaders moved", 60, brief, func(ctx context.Context, r *round) error { return r.moveLeaders(ctx, r.topic(orders)) }},
		{"Kafka: min.insync.replicas lost", 4, 0, func(ctx context.Context, r *round) error {
			return r.without(ctx, 2, 4*time.Second)
		}},
		{"Kafka: all brokers gone for longer than wal_sender_timeout", 4, 0, func(ctx context.Context, r *round) error {
			return r.without(ctx, brokers, 7*time.Second)
		}},
		{"Kafka: topic deleted and created again", 15, brief, func(ctx context.Context, r *round) error { return r.recreate(ctx, r.topic(doomed)) }},
		{"Kafka: partitions added", 15, brief, func(ctx context.Context, r *round) error {
			if err := r.grow(ctx, r.topic(payments)); err != nil {
				return err
			}
			return errors.Join(r.toKafka.Cut(), r.awaitUse(ctx, r.topic(payments))) // what fails is looked into
		}},
		{"Kafka: partitions added, while nothing fails", 2, 0, func(ctx context.Context, r *round) error {
			return errors.Join(r.grow(ctx, r.topic(payments)), r.awaitUse(ctx, r.topic(payments)))
		}},
	}
}

func (r *round) broker() int { return 1 + r.r.IntN(brokers) }

// back starts a broker again and waits until it follows.
func (r *round) back(ctx context.Context, id int) error {
	if err := r.kafka.StartNode(ctx, id); err != nil {
		return err
	}
	return r.awaitLeaders(ctx, r.topics())
}

// without kills n brokers at once for a while. A majority of the controllers may be gone with them.
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
	// The reader has to have been stopped by the budget, or the outage was none to it.
	if err := r.relay.awaitFull(ctx); err != nil {
		return err
	}
	started := make(chan error, n)
	for _, id := range ids { // each is up only when a majority is
		go func() { started <- r.kafka.StartNode(ctx, id) }()
	}
	var err error
	for range ids {
		err = errors.Join(err, <-started)
	}
	return errors.Join(err, r.awaitLeaders(ctx, r.topics()))
}

// stalledKafka lets the connections stall that are there. New ones are carried: the relay has to find out and to make them.
func stalledKafka(up, down bool) func(ctx context.Context, r *round) error {
	return func(ctx context.Context, r *round) error {
		if err := r.toKafka.Stall(up, down); err != nil {
			return err
		}
		err := r.awaitMore(ctx)
		return errors.Join(err, r.toKafka.Heal())
	}
}

// moveLeaders makes the next replica of each partition its preferred one, and elects it.
func (r *round) moveLeaders(ctx context.Context, topic string) error {
	partitions, err := r.partitions(ctx, topic)
	if err != nil {
		return err
	}
	move := kmsg.NewAlterPartitionAssignmentsRequest()
	move.TimeoutMillis = 10_000
	moved := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	moved.Topic = topic
	leaders := make(map[int32]int32, len(partitions))
	for _, p := range partitions {
		one := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		at := slices.Index(p.Replicas, p.Leader)
		one.Partition, one.Replicas = p.Partition, slices.Concat(p.Replicas[at+1:], p.Replicas[:at+1])
		leaders[p.Partition] = one.Replicas[0]
		moved.Partitions = append(moved.Partitions, one)
	}
	move.Topics = append(move.Topics, moved)
	answer, err := move.RequestWith(ctx, r.client)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("reassign topic %s: %w", topic, err)
	}
	elect := kmsg.NewElectLeadersRequest()
	elect.TimeoutMillis = 10_000
	asked := kmsg.NewElectLeadersRequestTopic()
	asked.Topic = topic
	for _, p := range partitions {
		asked.Partitions = append(asked.Partitions, p.Partition)
	}
	elect.Topics = append(elect.Topics, asked)
	if _, err := elect.RequestWith(ctx, r.client); err != nil { // each partition has an error of its own: that it leads already, for one
		return fmt.Errorf("elect leaders of topic %s: %w", topic, err)
	}
	return poll(ctx, func() (bool, error) {
		now, err := r.partitions(ctx, topic)
		if err != nil {
			return false, nil
		}
		for _, p := range now {
			if p.Leader != leaders[p.Partition] {
				return false, nil
			}
		}
		return true, nil
	})
}

// grow adds a partition.
func (r *round) grow(ctx context.Context, topic string) error {
	partitions, err := r.partitions(ctx, topic)
	if err != nil {
		return err
	}
	req := kmsg.NewCreatePartitionsRequest()
	req.TimeoutMillis = 10_000
	one := kmsg.NewCreatePartitionsRequestTopic()
	one.Topic, one.Count = topic, int32(len(partitions)+1)
	req.Topics = append(req.Topics, one)
	res, err := req.RequestWith(ctx, r.client)
	if err == nil {
		err = kerr.ErrorForCode(res.Topics[0].ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("add a partition to topic %s: %w", topic, err)
	}
	return r.awaitLeaders(ctx, []string{topic})
}

// awaitUse waits until there is something in each partition of a topic.
func (r *round) awaitUse(ctx context.Context, topic string) error {
	return poll(ctx, func() (bool, error) {
		ends, err := r.ends(ctx, topic)
		if err != nil {
			return false, nil // leaders that are being chosen
		}
		return !slices.Contains(slices.Collect(maps.Values(ends)), 0), nil
	})
}

// recreate deletes a topic and, a while later, creates it again. What it held is read before.
func (r *round) recreate(ctx context.Context, topic string) error {
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
	if err := r.deleteTopic(ctx, topic); err != nil {
		return err
	}
	if err := r.awaitGone(ctx, topic); err != nil {
		return err
	}
	purge.Gone = time.Now()
	r.purges = append(r.purges, purge)
	if err := r.hold(ctx, 0, time.Second); err != nil {
		return err
	}
	return poll(ctx, func() (bool, error) {
		err := kafkatest.CreateTopic(ctx, r.kafka.Brokers(), topic, 2, settings(doomed))
		return err == nil, nil // until the deletion has come through, it exists
	})
}
