package metadata

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
)

// asker gives the answers that a test sets, and records what it was asked, and when.
type asker struct {
	mu         sync.Mutex
	took       time.Duration
	err        error
	answer     func(names []string) *sarama.MetadataResponse
	limits     map[string]int64
	noSettings error
	asked      []question
}

type question struct {
	at     time.Duration // since the test began
	what   string        // metadata, create or settings
	topics []string
}

var began time.Time

func (a *asker) ask(what string, topics []string) error {
	a.mu.Lock()
	a.asked = append(a.asked, question{time.Since(began), what, slices.Clone(topics)})
	took, err := a.took, a.err
	a.mu.Unlock()
	time.Sleep(took)
	return err
}

func (a *asker) Metadata(_ context.Context, _, topics []string, create bool) (*sarama.MetadataResponse, error) {
	what := "metadata"
	if create {
		what = "create"
	}
	if err := a.ask(what, topics); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.answer(topics), nil
}

func (a *asker) MaxMessageBytes(_ context.Context, _, topics []string) (map[string]int64, error) {
	if err := a.ask("settings", topics); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limits, a.noSettings
}

func (a *asker) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// takeAsked returns what was asked since the last call.
func (a *asker) takeAsked() []question {
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.asked
	a.asked = nil
	return q
}

// cluster answers that broker 1 leads the partitions of every topic.
func cluster(addr string, partitions int) func([]string) *sarama.MetadataResponse {
	return func(names []string) *sarama.MetadataResponse {
		res := &sarama.MetadataResponse{Version: 9}
		res.AddBroker(addr, 1)
		for _, name := range names {
			for i := range partitions {
				res.AddTopicPartition(name, int32(i), 1, nil, nil, nil, sarama.ErrNoError)
			}
		}
		return res
	}
}

// start runs a cache until the test ends, within a bubble of synctest.
func start(t *testing.T, a *asker) *Cache {
	began = time.Now()
	if a.answer == nil {
		a.answer = cluster("b:9092", 2)
	}
	c := New(a, func([]string) {})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return c
}

// However many callers join, there is one request at a time for all of them, and a pause after it. A caller that joins while a request is
// under way waits for the next one: the answer to the current one may be older than the change that the caller wants to see.
func TestAllWhoJoinShareALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{took: 10 * time.Millisecond}
		c := start(t, a)
		first := c.Refresh("a", 0)
		synctest.Wait() // until it is under way
		var refreshes []<-chan struct{}
		for i := range 1000 {
			refreshes = append(refreshes, c.Refresh(fmt.Sprintf("t%03d", i%100), 0))
		}
		<-first
		select {
		case <-refreshes[0]:
			t.Error("a refresh that began before a caller joined counted as the caller's")
		default:
		}
		for _, refresh := range refreshes {
			<-refresh
		}
		asked := a.takeAsked()
		if len(asked) != 2 || len(asked[0].topics) != 1 || len(asked[1].topics) != 100 {
			t.Fatalf("asked %v", asked)
		}
		if pause := asked[1].at - asked[0].at - a.took; pause < minPause {
			t.Errorf("%v from one refresh to the next", pause)
		}
		if n, err := c.Partitions("t042"); n != 2 || err != nil {
			t.Errorf("%d partitions, %v", n, err)
		}
	})
}

// While no broker answers, refreshes still end, without an answer, and they become less frequent. What was known stays.
func TestNoBrokerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{}
		c := start(t, a)
		<-c.Refresh("a", 0)
		a.takeAsked()
		down := errors.New("nobody is there")
		a.set(func() { a.err = down })
		for time.Since(began) < time.Minute {
			<-c.Refresh("a", 0)
			<-c.Refresh("b", Settings)
		}
		if n := len(a.takeAsked()); n < 50 || n > 70 {
			t.Errorf("asked %d times in a minute", n)
		}
		if b, err := c.Leader("a", 1); b == nil || err != nil {
			t.Errorf("what was known of a is gone: %v", err)
		}
		if _, err := c.Partitions("b"); err != down {
			t.Errorf("b: %v", err)
		}
		a.set(func() { a.err = nil })
		<-c.Refresh("b", 0)
		if _, err := c.Leader("b", 1); err != nil {
			t.Errorf("b: %v", err)
		}
	})
}

// A cluster that takes long to answer is asked no more than half of the time.
func TestSlowAnswersAreAskedForLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{took: 600 * time.Millisecond}
		c := start(t, a)
		for range 5 {
			<-c.Refresh("a", 0)
		}
		asked := a.takeAsked()
		for i := 1; i < len(asked); i++ {
			if rest := asked[i].at - asked[i-1].at - a.took; rest < a.took {
				t.Errorf("%v of rest after %v of work", rest, a.took)
			}
		}
	})
}

// Settings are asked for only if a caller wants them, for all topics at once. A topic may be created only if a caller wants that.
func TestWhatIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{limits: map[string]int64{"b": 2000, "d": 4000}}
		c := start(t, a)
		<-c.Refresh("first", 0) // in the pause after it, all of the following come together
		a.takeAsked()
		c.Refresh("a", 0)
		c.Refresh("b", Settings)
		c.Refresh("c", Create)
		c.RefreshAll([]string{"d", "a"}, 0)
		<-c.Refresh("d", Settings|Create)
		const at = 100 * time.Millisecond
		want := []question{{at, "metadata", []string{"a", "b"}}, {at, "create", []string{"c", "d"}}, {at, "settings", []string{"b", "d"}}}
		if asked := a.takeAsked(); fmt.Sprint(asked) != fmt.Sprint(want) {
			t.Errorf("asked %v, want %v", asked, want)
		}
		if n, ok := c.MaxMessageBytes("d"); n != 4000 || !ok {
			t.Errorf("d: %d, %v", n, ok)
		}
		a.set(func() { a.limits, a.noSettings = nil, errors.New("nobody answers") })
		<-c.Refresh("d", Settings)
		if n, ok := c.MaxMessageBytes("d"); n != 4000 || !ok {
			t.Errorf("d, of which nothing was said: %d, %v", n, ok)
		}
		a.set(func() { a.limits, a.noSettings = nil, nil }) // the right to read them was taken away
		<-c.Refresh("d", Settings)
		if n, ok := c.MaxMessageBytes("d"); ok {
			t.Errorf("d: %d may still be read", n)
		}
		if n, ok := c.MaxMessageBytes("b"); n != 2000 || !ok {
			t.Errorf("b, which was not asked about: %d, %v", n, ok)
		}
	})
}

// The leader of a partition, or the reason why it has none.
func TestLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{answer: func([]string) *sarama.MetadataResponse {
			res := &sarama.MetadataResponse{Version: 9}
			res.AddBroker("b:9092", 1)
			res.AddTopic("absent", sarama.ErrUnknownTopicOrPartition)
			res.AddTopic("forbidden", sarama.ErrTopicAuthorizationFailed)
			res.AddTopic("new", sarama.ErrLeaderNotAvailable)
			for i, err := range []sarama.KError{sarama.ErrNoError, sarama.ErrLeaderNotAvailable, sarama.ErrReplicaNotAvailable, sarama.ErrNoError} {
				leader := int32(1)
				if i == 3 {
					leader = 7 // a broker that the answer does not name
				}
				res.AddTopicPartition("orders", int32(i), leader, nil, nil, nil, err)
			}
			return res
		}}
		c := start(t, a)
		if _, err := c.Leader("orders", 0); err == nil {
			t.Error("there is a leader before a broker was asked")
		}
		<-c.Refresh("orders", 0)
		for _, test := range []struct {
			topic     string
			partition int32
			want      error
		}{
			{"orders", 0, nil}, {"orders", 1, sarama.ErrLeaderNotAvailable}, {"orders", 2, nil}, {"orders", 3, sarama.ErrLeaderNotAvailable},
			{"orders", 4, sarama.ErrUnknownTopicOrPartition}, {"absent", 0, sarama.ErrUnknownTopicOrPartition},
			{"forbidden", 0, sarama.ErrTopicAuthorizationFailed}, {"new", 0, sarama.ErrLeaderNotAvailable},
		} {
			b, err := c.Leader(test.topic, test.partition)
			if err != test.want || (b == nil) != (err != nil) {
				t.Errorf("%s/%d: %v, %v; want %v", test.topic, test.partition, b, err, test.want)
			}
		}
		if n, err := c.Partitions("orders"); n != 4 || err != nil {
			t.Errorf("orders has %d partitions, %v", n, err)
		}
		if n, err := c.Partitions("new"); n != 0 || err != sarama.ErrLeaderNotAvailable {
			t.Errorf("new has %d partitions, %v", n, err)
		}
		before, _ := c.Leader("orders", 0)
		<-c.Refresh("orders", 0)
		if b, _ := c.Leader("orders", 0); b != before {
			t.Error("a broker became another value, and would be connected to once more")
		}
		a.set(func() { a.answer = cluster("moved:9092", 2) })
		<-c.Refresh("orders", 0)
		if b, _ := c.Leader("orders", 0); b == before || b.Addr() != "moved:9092" {
			t.Errorf("the broker is still at %s", b.Addr())
		}
		if b, _ := c.Leader("orders", 0); !c.Gone(before) || c.Gone(b) {
			t.Error("the broker at its old address is not gone, or the one at the new address is")
		}
		if addrs := c.Addresses(); !slices.Equal(addrs, []string{"moved:9092"}) {
			t.Errorf("the brokers are at %v", addrs)
		}
		a.set(func() {
			a.answer = func(names []string) *sarama.MetadataResponse {
				res := cluster("moved:9092", 2)(names)
				res.Brokers = nil
				res.AddBroker("other:9092", 2)
				return res
			}
		})
		moved, _ := c.Leader("orders", 0)
		<-c.Refresh("orders", 0)
		if b, err := c.Leader("orders", 0); b != nil || err != sarama.ErrLeaderNotAvailable || !c.Gone(moved) || len(c.Addresses()) != 1 {
			t.Errorf("a broker that left the cluster still leads: %v, %v, %v", b, err, c.Addresses())
		}
		c.Forget("orders")
		if _, err := c.Partitions("orders"); err == nil {
			t.Error("a topic was not forgotten")
		}
	})
}

// A caller that waits for a refresh when the cache ends does not wait for ever.
func TestLooksEndWithTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{took: time.Second, answer: cluster("b:9092", 1)}
		c := New(a, func([]string) {})
		ctx, cancel := context.WithCancel(t.Context())
		go c.Run(ctx)
		first := c.Refresh("a", 0)
		synctest.Wait()
		second := c.Refresh("b", 0)
		cancel()
		<-first
		<-second
	})
}
