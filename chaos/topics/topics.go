// Package topics changes Kafka's topics as operators do. It waits until the
// brokers report the change, because they accept a request before it is done.
package topics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"walpost/internal/testenv/poll"
)

// NewClient returns a client for the functions of this package. They poll, and
// kadm uses its client's metadata cache, which keeps metadata for seconds by
// default.
func NewClient(brokers []string) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(10*time.Millisecond))
}

// Partitions returns a topic's partitions, as some broker reports them now.
func Partitions(ctx context.Context, client *kgo.Client, topic string) (kadm.PartitionDetails, error) {
	told, err := kadm.NewClient(client).Metadata(ctx, topic)
	if err == nil {
		err = told.Topics[topic].Err
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the partitions of topic %s: %w", topic, err)
	}
	return told.Topics[topic].Partitions, nil
}

// Ends returns the end offsets of a topic's partitions.
func Ends(ctx context.Context, client *kgo.Client, topic string) (map[int32]int64, error) {
	told, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err == nil {
		err = told.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the ends of topic %s: %w", topic, err)
	}
	ends := make(map[int32]int64)
	told.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends, nil
}

// AwaitLeaders waits until each partition of the topics has a leader and all
// of its replicas are in sync.
func AwaitLeaders(ctx context.Context, client *kgo.Client, names ...string) error {
	return poll.Until(ctx, func() (bool, error) {
		for _, topic := range names {
			partitions, err := Partitions(ctx, client, topic)
			if err != nil {
				return false, nil // brokers are starting
			}
			for _, p := range partitions {
				if p.Leader < 0 || len(p.ISR) < len(p.Replicas) {
					return false, nil
				}
			}
		}
		return true, nil
	})
}

// MoveLeaders moves the leader of some partitions, or of all if none is named,
// to the next replica.
func MoveLeaders(ctx context.Context, client *kgo.Client, topic string, some ...int32) error {
	admin := kadm.NewClient(client)
	partitions, err := Partitions(ctx, client, topic)
	if err != nil {
		return err
	}
	if len(some) == 0 {
		some = slices.Collect(maps.Keys(partitions))
	}
	var order kadm.AlterPartitionAssignmentsReq
	var elect kadm.TopicsSet
	leaders := make(map[int32]int32, len(some))
	for _, p := range some {
		replicas := partitions[p].Replicas
		at := slices.Index(replicas, partitions[p].Leader)
		replicas = slices.Concat(replicas[at+1:], replicas[:at+1])
		order.Assign(topic, p, replicas)
		elect.Add(topic, p)
		leaders[p] = replicas[0]
	}
	moved, err := admin.AlterPartitionAssignments(ctx, order)
	if err == nil {
		err = moved.Error()
	}
	if err != nil {
		return fmt.Errorf("reassign topic %s: %w", topic, err)
	}
	elected, err := admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, elect)
	if err != nil {
		return fmt.Errorf("elect leaders of topic %s: %w", topic, err)
	}
	for _, r := range elected[topic] {
		if r.Err != nil && !errors.Is(r.Err, kerr.ElectionNotNeeded) {
			return fmt.Errorf("elect a leader of topic %s, partition %d: %w", topic, r.Partition, r.Err)
		}
	}
	return poll.Until(ctx, func() (bool, error) {
		now, err := Partitions(ctx, client, topic)
		if err != nil {
			return false, nil
		}
		for p, leader := range leaders {
			if now[p].Leader != leader {
				return false, nil
			}
		}
		return true, nil
	})
}

// Grow adds a partition to a topic.
func Grow(ctx context.Context, client *kgo.Client, topic string) error {
	grown, err := kadm.NewClient(client).CreatePartitions(ctx, 1, topic)
	if err == nil {
		err = grown.Error()
	}
	if err != nil {
		return fmt.Errorf("add a partition to topic %s: %w", topic, err)
	}
	return AwaitLeaders(ctx, client, topic)
}

// Delete deletes a topic. Brokers may still know it for a while.
func Delete(ctx context.Context, client *kgo.Client, topic string) error {
	deleted, err := kadm.NewClient(client).DeleteTopic(ctx, topic)
	if err == nil {
		err = deleted.Err
	}
	if err != nil {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	return nil
}

// AwaitGone waits until no broker knows a topic any more.
func AwaitGone(ctx context.Context, client *kgo.Client, topic string) error {
	brokers, err := kadm.NewClient(client).ListBrokers(ctx)
	if err != nil {
		return fmt.Errorf("ask for the brokers: %w", err)
	}
	return poll.Until(ctx, func() (bool, error) {
		for _, id := range brokers.NodeIDs() {
			req := kmsg.NewPtrMetadataRequest()
			asked := kmsg.NewMetadataRequestTopic()
			asked.Topic = &topic
			req.Topics = append(req.Topics, asked)
			res, err := client.Broker(int(id)).Request(ctx, req)
			if err != nil {
				return false, nil
			}
			told := res.(*kmsg.MetadataResponse).Topics
			if len(told) != 1 || !errors.Is(kerr.ErrorForCode(told[0].ErrorCode), kerr.UnknownTopicOrPartition) {
				return false, nil
			}
		}
		return true, nil
	})
}

// Set sets a setting of a topic; an empty value: the brokers' default.
func Set(ctx context.Context, client *kgo.Client, topic, name, value string) error {
	change := kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value}
	if value == "" {
		change.Op = kadm.DeleteConfig
	}
	done, err := kadm.NewClient(client).AlterTopicConfigs(ctx, []kadm.AlterConfig{change}, topic)
	if err == nil {
		_, err = done.On(topic, func(r *kadm.AlterConfigsResponse) error { return r.Err })
	}
	if err != nil {
		return fmt.Errorf("set %s of topic %s: %w", name, topic, err)
	}
	return nil
}

// Deny takes the right to write to a topic away from everybody who does not log in. The brokers need an authorizer, and give everybody every
// right on topics without ACLs.
func Deny(ctx context.Context, client *kgo.Client, topic string) error {
	_, err := kadm.NewClient(client).CreateACLs(ctx, noWriting(topic))
	if err != nil {
		return fmt.Errorf("deny writing to topic %s: %w", topic, err)
	}
	return awaitACLs(ctx, client, topic, true)
}

// Allow gives the right back that Deny took away.
func Allow(ctx context.Context, client *kgo.Client, topic string) error {
	_, err := kadm.NewClient(client).DeleteACLs(ctx, noWriting(topic))
	if err != nil {
		return fmt.Errorf("allow writing to topic %s: %w", topic, err)
	}
	return awaitACLs(ctx, client, topic, false)
}

// noWriting are the ACLs of a topic for which nobody may write. All others have to be named: a resource with an ACL has no other rights.
func noWriting(topic string) *kadm.ACLBuilder {
	return kadm.NewACLs().Topics(topic).ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpRead, kadm.OpDescribe, kadm.OpDescribeConfigs, kadm.OpAlter, kadm.OpAlterConfigs, kadm.OpDelete).
		Allow("User:ANONYMOUS").AllowHosts("*")
}

// awaitACLs waits until all brokers know whether a topic has ACLs.
func awaitACLs(ctx context.Context, client *kgo.Client, topic string, want bool) error {
	return poll.Until(ctx, func() (bool, error) {
		told, err := kadm.NewClient(client).DescribeACLs(ctx, noWriting(topic))
		if err != nil {
			return false, nil
		}
		n := 0
		for _, r := range told {
			n += len(r.Described)
		}
		return (n > 0) == want, nil
	})
}
