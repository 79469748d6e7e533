package sink

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/kafkatest"
	"walpost/internal/testenv/long"
	"walpost/sink/kafkaerror"
	"walpost/sink/wire"
)

// Three real brokers show answers that one broker alone cannot give, and that the lane's model contains. In the short test run, only the
// model's own tests and the embedded cluster of kfaketest, whose leaders move too, use these answers.
func TestThreeBrokersAnswer(t *testing.T) {
	long.Only(t)
	t.Parallel()
	// The cluster must wait for a frozen broker, and not remove it.
	c := kafkatest.Start(t, kafkatest.Options{Nodes: 3, Properties: map[string]string{
		"producer.id.expiration.check.interval.ms": "100", "broker.session.timeout.ms": "60000", "replica.lag.time.max.ms": "60000"}})
	t.Run("producers are forgotten", func(t *testing.T) { playAnswers(t, c.Brokers(), true) })
	t.Run("the lead is lost after the append", func(t *testing.T) { leadIsLost(t, c) })
	t.Run("answers are lost and leaders move while sequences wrap", func(t *testing.T) { wrapWhileLeadersMove(t, c) })
}

// leadIsLost appends a batch while one follower is frozen, and makes the other one the leader before the answer. The answer is
// NOT_LEADER_OR_FOLLOWER, and the batch is in the log. When the same batch is sent again, it is not appended a second time.
func leadIsLost(t *testing.T, c *kafkatest.Cluster) {
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, c.Brokers(), topic, 1, nil)
	a := admin(t, c.Brokers())
	described, err := a.DescribeTopics([]string{topic})
	if err != nil {
		t.Fatal(err)
	}
	replicas := described[0].Partitions[0].Replicas
	next, frozen := replicas[1], replicas[2]
	if strings.Contains(c.Log(int(frozen)), "Performing controller activation") {
		next, frozen = frozen, next // without the controller no lead is moved
	}
	// The broker that is asked below must not be the frozen one.
	var awake []string
	for i, addr := range c.Brokers() {
		if int32(i+1) != frozen {
			awake = append(awake, addr)
		}
	}
	ask := dialPartition(t, awake, topic)
	b, _ := sent{count: 3, event: 1}.batch(t, 1_000_000)
	if err := c.Freeze(int(frozen)); err != nil {
		t.Fatal(err)
	}
	thaw := func() {
		if err := c.Thaw(int(frozen)); err != nil {
			t.Error(err)
		}
	}
	defer thaw()
	answered := make(chan wire.Answer, 1)
	go func() { answered <- ask(b) }()
	until(t, "the append", func() bool { return len(producerState(t, awake, topic, 0)) == 1 })
	select {
	case o := <-answered:
		t.Fatalf("answered before a follower had it: %+v", o)
	default:
	}
	elect(t, awake, topic, []int32{next, replicas[0], frozen})
	o := <-answered
	if !errors.Is(o.Err, sarama.ErrNotLeaderForPartition) {
		t.Fatalf("answered with %v", o.Err)
	}
	if v := kafkaerror.Classify(o.Err); v != kafkaerror.Unclear {
		t.Errorf("class %d of a batch that may be in the log", v)
	}
	thaw()
	if o := dialPartition(t, awake, topic)(b); o.Err != nil {
		t.Errorf("sent again: %v", o.Err)
	}
	consume(t, c.Brokers(), topic, 3)
}

// elect makes the first of the partition's replicas, in a new order, its leader. It asks the first of the brokers itself, and that one
// forwards the request. A client's admin would ask the controller that the metadata names. In KRaft that can be any broker that is not
// fenced, even the frozen one.
func elect(t *testing.T, brokers []string, topic string, order []int32) {
	t.Helper()
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V2_8_0_0
	b := sarama.NewBroker(brokers[0])
	if err := b.Open(cfg); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	reassign := &sarama.AlterPartitionReassignmentsRequest{TimeoutMs: 10_000}
	reassign.AddBlock(topic, 0, order)
	if res, err := b.AlterPartitionReassignments(reassign); err != nil || res.ErrorCode != sarama.ErrNoError {
		t.Fatalf("reassign %s: %+v, %v", topic, res, err)
	}
	until(t, "a new leader", func() bool {
		if _, err := b.ElectLeaders(&sarama.ElectLeadersRequest{Type: sarama.PreferredElection, TopicPartitions: map[string][]int32{topic: {0}}, TimeoutMs: 10_000}); err != nil {
			return false
		}
		return leader(t, brokers, topic) == int(order[0])
	})
}

// wrapWhileLeadersMove cuts connections while leaders move and sequences wrap around: each event comes once and in order.
func wrapWhileLeadersMove(t *testing.T, c *kafkatest.Cluster) {
	topic := kafkatest.Name(t)
	const partitions = 6
	kafkatest.Topic(t, c.Brokers(), topic, partitions, nil)
	acks := newLedger()
	cfg := config(t, c.Brokers())
	p := open(t, cfg, acks)
	p.mu.Lock()
	p.ids.usual.Next = 1<<31 - 100
	p.mu.Unlock()
	s := startStream(t, p, acks, topic)
	s.flows(t, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cuts := make(chan int)
	go func() { cuts <- cutAfterAcks(ctx, p, acks) }()
	for range 2 {
		moveLeaders(t, c.Brokers(), topic)
		s.flows(t, 1)
	}
	stop()
	t.Logf("%d times all connections were cut", <-cuts)
	s.flows(t, 1)
	close(s.stop)
	events := <-s.ended
	acks.wait(t, events, 0)
	checkStream(t, c.Brokers(), topic, events)
	if n, _ := sample(t, cfg, "walpost_retries_total"); n < 20 {
		t.Errorf("%v batches were sent again: this proves little", n)
	}
	states := producerState(t, c.Brokers(), topic, 0)
	if len(states) != 1 || states[0].LastSequence > 1<<30 || !slices.ContainsFunc(states, func(s sarama.ProducerState) bool { return s.ProducerID == p.ids.usual.Producer }) {
		t.Errorf("partition 0 knows %+v: want one producer, whose sequences have wrapped around", states)
	}
}

// cutAfterAcks cuts all connections repeatedly. It waits for an ack before each cut, so that even the slowest machine makes progress.
func cutAfterAcks(ctx context.Context, p *Producer, acks *ledger) (cuts int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for last := -1; ; {
		select {
		case <-ctx.Done():
			return cuts
		case <-tick.C:
		}
		acked, _ := acks.total()
		if acked == last {
			continue
		}
		last = acked
		cutConnections(p)
		cuts++
	}
}
