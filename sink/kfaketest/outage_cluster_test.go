package kfaketest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// clusterEnv is the environment variable that makes a process of ours run the brokers. Its value is the number of topics.
const clusterEnv = "WALPOST_KFAKETEST_CLUSTER"

func TestMain(m *testing.M) {
	if topics, err := strconv.Atoi(os.Getenv(clusterEnv)); err == nil {
		serveCluster(topics)
		return
	}
	os.Exit(m.Run())
}

const (
	outageNodes      = 3
	outagePartitions = 10 // of each topic
)

func outageTopic(i int) string { return fmt.Sprintf("topic-%04d", i) }

// laneOf returns the number of a partition among the partitions of all topics.
func laneOf(topic string, partition int32) int {
	n, _ := strconv.Atoi(topic[len("topic-"):])
	return n*outagePartitions + int(partition)
}

// Cluster runs the embedded brokers in a process of its own, because what they use must not count as the producer's. Its methods are called
// over the process's standard input and output.
type Cluster struct {
	topics int
	kfake  *kfake.Cluster
	gates  []*gate
	counts counts
	faults []*kfake.FaultHandle
}

// serveCluster runs the brokers' process. It ends when its standard input does.
func serveCluster(topics int) {
	c := &Cluster{topics: topics}
	var names []string
	for i := range topics {
		names = append(names, outageTopic(i))
	}
	listen := func(string, string) (net.Listener, error) {
		g, err := newGate(&c.counts)
		if err == nil {
			c.gates = append(c.gates, g)
		}
		return g, err
	}
	var err error
	if c.kfake, err = kfake.NewCluster(kfake.NumBrokers(outageNodes), kfake.SeedTopics(outagePartitions, names...), kfake.ListenFn(listen)); err != nil {
		log.Fatal(err)
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Cluster", c); err != nil {
		log.Fatal(err)
	}
	server.ServeConn(struct {
		io.Reader
		io.WriteCloser
	}{os.Stdin, os.Stdout})
}

// Nothing is the argument of a method without arguments, and the result of a method without a result.
type Nothing struct{}

// Addresses returns the addresses of the brokers.
func (c *Cluster) Addresses(_ Nothing, addrs *[]string) error {
	*addrs = c.kfake.ListenAddrs()
	return nil
}

// Traffic returns what the brokers have received so far.
func (c *Cluster) Traffic(_ Nothing, t *Traffic) error {
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	*t = c.counts.Traffic
	t.Requests = maps.Clone(t.Requests)
	return nil
}

// Leaders returns the broker that leads each partition of all topics.
func (c *Cluster) Leaders(_ Nothing, leaders *[]int32) error {
	for i := range c.topics {
		for n := range int32(outagePartitions) {
			*leaders = append(*leaders, c.kfake.LeaderFor(outageTopic(i), n))
		}
	}
	return nil
}

// Ways in which the cluster fails.
const (
	allWell    = "all is well"
	allAway    = "connections are refused"
	allHungUp  = "connections are closed"
	notLeader  = "no broker leads what it is said to lead"
	leaderless = "no partition has a leader"
	oneFrozen  = "one broker is frozen"
	frozenLed  = "one broker is frozen, and others lead its partitions"
)

// frozenNode is the broker that freezes.
const frozenNode = 0

// Set makes the cluster fail in a way, or work again.
func (c *Cluster) Set(way string, _ *Nothing) error {
	for _, f := range c.faults {
		f.Remove()
	}
	c.faults = nil
	fault := func(e *kerr.Error, keys ...kmsg.Key) {
		c.faults = append(c.faults, c.kfake.Fault(kfake.Fault{Keys: keys, Err: e, Count: -1}))
	}
	all, one := gateOpen, gateOpen
	switch way {
	case allAway:
		all, one = gateAway, gateAway
	case allHungUp:
		all, one = gateHungUp, gateHungUp
	case notLeader:
		fault(kerr.NotLeaderForPartition, kmsg.Produce)
	case leaderless:
		fault(kerr.LeaderNotAvailable, kmsg.Produce, kmsg.Metadata)
	case oneFrozen:
		one = gateFrozen
	case frozenLed:
		one = gateFrozen
		for i := range c.topics {
			for n := range int32(outagePartitions) {
				if c.kfake.LeaderFor(outageTopic(i), n) != frozenNode {
					continue
				}
				if err := c.kfake.MoveTopicPartition(outageTopic(i), n, 1+n%(outageNodes-1)); err != nil {
					return err
				}
			}
		}
	}
	var errs []error
	for node, g := range c.gates {
		if node == frozenNode {
			errs = append(errs, g.set(one))
		} else {
			errs = append(errs, g.set(all))
		}
	}
	return errors.Join(errs...)
}

// Check reads all topics as consumers do. want is the number of events of each partition, which are numbered from 0. An event that is
// missing, or that comes before an earlier one, is an error.
func (c *Cluster) Check(want []int32, duplicates *int) error {
	offsets, left := map[string]map[int32]kgo.Offset{}, int64(0)
	for i := range c.topics {
		name := outageTopic(i)
		offsets[name] = map[int32]kgo.Offset{}
		for n := range int32(outagePartitions) {
			offsets[name][n] = kgo.NewOffset().AtStart()
			left += c.kfake.PartitionInfo(name, n).HighWatermark
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kfake.ListenAddrs()...), kgo.ConsumePartitions(offsets))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	got := make([]int32, len(want))
	for left > 0 && err == nil {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("%d records cannot be read", left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			lane := laneOf(r.Topic, r.Partition)
			event, e := strconv.Atoi(string(r.Key))
			switch {
			case e != nil:
				err = e
			case event == int(got[lane]):
				got[lane]++
			case event < int(got[lane]):
				*duplicates++
			default:
				err = fmt.Errorf("topic %s, partition %d: event %d comes before event %d", r.Topic, r.Partition, event, got[lane])
			}
		})
	}
	for lane := range want {
		if got[lane] != want[lane] && err == nil {
			err = fmt.Errorf("topic %s, partition %d: %d events, want %d", outageTopic(lane/outagePartitions), lane%outagePartitions, got[lane], want[lane])
		}
	}
	return err
}

// remoteCluster is a [Cluster] in another process.
type remoteCluster struct {
	t      testing.TB
	client *rpc.Client
}

// startCluster starts a process with brokers that have this many topics. It ends with the test.
func startCluster(t testing.TB, topics int) *remoteCluster {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", clusterEnv, topics))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() { in.Close() })
	t.Cleanup(func() {
		end()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the brokers' process: %v", err)
		}
	})
	return &remoteCluster{t, rpc.NewClient(struct {
		io.Reader
		io.Writer
		io.Closer
	}{out, in, closer(end)})}
}

type closer func()

func (c closer) Close() error {
	c()
	return nil
}

// call calls a method of the cluster or ends the test.
func call[R any](c *remoteCluster, method string, arg any) (result R) {
	c.t.Helper()
	if err := c.client.Call("Cluster."+method, arg, &result); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
	return result
}
