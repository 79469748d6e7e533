package sink

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/kafkatest"
	"walpost/internal/reason"
	"walpost/schema"
)

// quietLedger is a ledger that parks one event.
type quietLedger struct {
	*ledger
	noTopics
}

func (quietLedger) Parks() bool { return true }

func (quietLedger) Sifting() bool { return true }

func (quietLedger) Refused(schema.Position, uint64) bool { return true }

func (l quietLedger) Verdict(_ string, _ []byte, _ schema.Position, tx uint64) schema.Verdict {
	if tx == 8 { // what is behind a refused event
		return schema.Park
	}
	return schema.Send
}

// noTopics is the part of a test's ledger that parks no topics.
type noTopics struct{}

func (noTopics) Block(string, reason.Code, string, string) {}

func (noTopics) Absorb(string, [][]byte) {}

func (noTopics) Blocked(string) bool { return false }

func (noTopics) Stalled(string, bool) bool { return false }

func (l quietLedger) Park(letters []*schema.DeadLetter) {
	for _, one := range letters {
		l.Rejected(one.Tx, fmt.Errorf("%s: %s", one.Code, one.Detail))
	}
}

// letterTo returns a dead letter with this number, which is its value, id, position and transaction.
func letterTo(topic string, n uint64, partition int32) *schema.DeadLetter {
	return &schema.DeadLetter{Topic: topic, Partition: partition, Key: []byte("a"), Value: fmt.Append(nil, n), At: schema.Position{LSN: n}, Tx: n, Held: 10,
		Timestamp: time.Now().UnixMilli(), Headers: slices.Values([]schema.DeadHeader{{Name: []byte("id"), Value: fmt.Append(nil, n)}})}
}

// openQuiet opens a producer, and creates a topic with three partitions.
func openQuiet(t *testing.T) (brokers []string, topic string, l quietLedger, p *Producer) {
	t.Helper()
	brokers, topic, l = kafkatest.Brokers(t), kafkatest.Name(t), quietLedger{ledger: newLedger()}
	kafkatest.Topic(t, brokers, topic, 3, nil)
	return brokers, topic, l, open(t, config(t, brokers), l)
}

// Dead letters that are published again have the header walpost_replay and hold no bytes. Events with which a key flows again have it too,
// count for the bytes that they hold, and are sent only if the key is let flow, and only if all of them have one lane.
func TestReplayAndResume(t *testing.T) {
	t.Parallel()
	brokers, topic, l, p := openQuiet(t)
	letter := func(n uint64, partition int32) *schema.DeadLetter {
		l := letterTo(topic, n, partition)
		l.Retried = true
		return l
	}
	resume := func(flows bool, letters ...*schema.DeadLetter) bool {
		return p.Resume(letters[0], func(fit func([]*schema.DeadLetter) bool) ([]*schema.DeadLetter, bool) {
			if !flows || !fit(letters) {
				return nil, false
			}
			return letters, true
		})
	}
	if resume(true, letter(90, -1)) {
		t.Error("resumed before the partitions are known")
	}
	p.Replay([]*schema.DeadLetter{letter(1, -1), letter(2, -1)}, false) // they wait for the partitions
	l.wait(t, 2, 0)
	p.Replay([]*schema.DeadLetter{letter(3, -1), letter(4, 2), letter(5, 7), letter(8, -1)}, true) // one names a partition that does not exist
	l.wait(t, 4, 2)
	if l.bytes != 0 {
		t.Errorf("replayed events hold %d bytes", l.bytes)
	}
	if resume(false, letter(91, -1)) || resume(true, letter(92, 0), letter(93, 1)) || resume(true, letter(94, 9)) {
		t.Error("resumed although the key does not flow, or in two lanes, or nowhere")
	}
	if !resume(true, letter(6, -1), letter(7, -1)) {
		t.Error("not resumed")
	}
	l.wait(t, 6, 2)
	if l.bytes != 20 {
		t.Errorf("resumed events hold %d bytes, want 20", l.bytes)
	}
	var got []string
	for _, records := range consume(t, brokers, topic, 6) {
		for _, m := range records {
			if last := m.Headers[len(m.Headers)-1]; string(last.Key) != "walpost_replay" || string(last.Value) != "retry" {
				t.Errorf("headers %v", m.Headers)
			}
			if id := m.Headers[0]; string(id.Key) != "id" || string(id.Value) != string(m.Value) {
				t.Errorf("event %s has header %s: %s", m.Value, id.Key, id.Value)
			}
			if m.Partition != 2 || string(m.Value) != "4" {
				got = append(got, string(m.Value))
			}
		}
	}
	if text := strings.Join(got, " "); text != "1 2 3 6 7" {
		t.Errorf("published %s", text)
	}
}

// haltingLedger is the ledger of a relay that does not park, and knows one event that has a dead letter.
type haltingLedger struct{ *parkingLedger }

func (haltingLedger) Parks() bool { return false }

func (haltingLedger) Sifting() bool { return true }

func (haltingLedger) Verdict(_ string, _ []byte, _ schema.Position, tx uint64) schema.Verdict {
	if tx == 1 {
		return schema.Settle
	}
	return schema.Send
}

// A sink that does not park rejects rows that can never be records, except those that have a dead letter: they are acked.
func TestHaltingSink(t *testing.T) {
	l := haltingLedger{newParkingLedger()}
	p, _ := offline(t, config(t, nil), l)
	bad := event("orders", "k", 1)
	bad.Values[schema.Headers] = []byte("[]")
	publish(t, p, bad, 1)
	if _, err := p.Publish(bad, 2); err == nil {
		t.Error("a bad row is not rejected")
	}
	p.Flush(false)
	l.wait(t, 1, 0)
}

// An event that has a dead letter is acked, and neither sent nor parked again. That holds whether the sink parks or not.
func TestSettledEvent(t *testing.T) {
	l := haltingLedger{newParkingLedger()}
	b, p := openFlowing(t, 1, l)
	before := asked[*sarama.ProduceRequest](b)
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	l.wait(t, 2, 0)
	if sent := asked[*sarama.ProduceRequest](b) - before; sent != 0 || len(l.letters) != 0 {
		t.Errorf("sent %d times, parked %d times", sent, len(l.letters))
	}
}

// What is published again goes before what waits in the lane only if that is asked for.
func TestReplayFirstOrLast(t *testing.T) {
	for _, first := range []bool{true, false} {
		l := newParkingLedger()
		b, p := openFlowing(t, 1, l)
		refused := asked[*sarama.ProduceRequest](b)
		b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, sarama.ErrNotEnoughReplicas))
		publish(t, p, event("orders", "k", 1), 1)
		p.Flush(false)
		until(t, "event 1 has its sequence", func() bool { return asked[*sarama.ProduceRequest](b) > refused })
		publish(t, p, event("orders", "k", 2), 2)
		p.Flush(false)
		p.Replay([]*schema.DeadLetter{{Topic: "orders", Partition: -1, Key: []byte("k"), Value: []byte("v"), Tx: 3, Timestamp: time.Now().UnixMilli(),
			Headers: slices.Values([]schema.DeadHeader(nil))}}, first)
		b.answer("ProduceRequest", produceAnswer(t))
		l.wait(t, 4, 0)
		want := []uint64{0, 1, 2, 3}
		if first {
			want = []uint64{0, 1, 3, 2}
		}
		if !slices.Equal(l.order, want) {
			t.Errorf("first %v: acked %v, want %v", first, l.order, want)
		}
	}
}

// What is published again waits behind events of its key that wait for a missing partition, also if these are published again with it. The key
// does not flow meanwhile.
func TestReplayBehindAMissingPartition(t *testing.T) {
	l := newParkingLedger()
	b, p := openFlowing(t, 2, l)
	p.confirmFewer = time.Hour
	publish(t, p, eventTo("orders", "a", "4", 1), 1)
	p.Flush(false)
	to := p.topics["orders"]
	until(t, "event 1 waits for its partition", func() bool {
		to.mu.Lock()
		defer to.mu.Unlock()
		return len(to.waiting) == 0 && to.missing.has([]byte("a"))
	})
	letter := func(tx uint64, key string, partition int32) *schema.DeadLetter {
		return &schema.DeadLetter{Topic: "orders", Partition: partition, Key: []byte(key), Value: []byte("v"), Tx: tx, Timestamp: time.Now().UnixMilli(),
			Headers: slices.Values([]schema.DeadHeader(nil))}
	}
	flow := func(func([]*schema.DeadLetter) bool) ([]*schema.DeadLetter, bool) {
		return []*schema.DeadLetter{letter(9, "a", 0)}, true
	}
	if p.Resume(letter(9, "a", 0), flow) {
		t.Error("key a flows")
	}
	p.Replay([]*schema.DeadLetter{letter(2, "a", 0), letter(3, "b", 4), letter(4, "b", 0), letter(5, "c", 0)}, true) // all that are sent share a lane
	l.wait(t, 2, 0)
	if !slices.Equal(l.order, []uint64{0, 5}) {
		t.Errorf("acked %v, want only 0 and 5", l.order)
	}
	b.partitions(5)
	l.wait(t, 6, 0)
}

// Later events of a bad row's key are parked behind it, also those of the same pass.
func TestEventsBehindABadRow(t *testing.T) {
	l := newParkingLedger()
	_, p := openFlowing(t, 1, l)
	bad := event("orders", "a", 1)
	bad.Values[schema.Headers] = []byte("[]")
	publish(t, p, bad, 1)
	publish(t, p, event("orders", "a", 2), 2)
	publish(t, p, event("orders", "b", 3), 3)
	p.Flush(false)
	until(t, "event 3 is acked", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.acked[3] == 1
	})
	p.Flush(false) // changes nothing
	l.wait(t, 4, 0)
	var parked []uint64
	for _, d := range l.letters {
		parked = append(parked, d.Tx)
	}
	if !slices.Equal(parked, []uint64{1, 2}) {
		t.Errorf("parked %v, want 1 and 2", parked)
	}
}

// A dead letter has the partition that its row names, whether it was refused or waits behind one. An event whose key chose the partition names
// none.
func TestDeadLetterKeepsItsPartition(t *testing.T) {
	l := newParkingLedger()
	b, p := openFlowing(t, 2, l)
	b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, sarama.ErrInvalidRecord).SetError("orders", 1, sarama.ErrInvalidRecord))
	for i, ev := range []*schema.Event{eventTo("orders", "a", "1", 1), eventTo("orders", "a", "0", 2), event("orders", "b", 3), event("orders", "b", 4)} {
		publish(t, p, ev, uint64(i+1))
		p.Flush(false)
		l.wait(t, i+2, 0)
	}
	var got []string
	for _, d := range l.letters {
		got = append(got, fmt.Sprint(d.Tx, "=", d.Partition, " ", d.Head))
	}
	if want := []string{"1=1 true", "2=0 false", "3=-1 true", "4=-1 false"}; !slices.Equal(got, want) {
		t.Errorf("parked %q, want %q", got, want)
	}
}

// slowLedger is a ledger that takes its time to park.
type slowLedger struct{ *parkingLedger }

func (l slowLedger) Park(letters []*schema.DeadLetter) {
	time.Sleep(100 * time.Millisecond) // there is nothing to wait for: nothing may be sent
	l.parkingLedger.Park(letters)
}

// An event that is refused is parked before its lane sends anything else.
func TestRefusedEventIsParkedAtOnce(t *testing.T) {
	l := slowLedger{newParkingLedger()}
	b, p := openFlowing(t, 1, l)
	b.answer("ProduceRequest", sarama.NewMockSequence(
		produceAnswer(t).SetError("orders", 0, sarama.ErrInvalidRecord), // both: they are divided
		produceAnswer(t).SetError("orders", 0, sarama.ErrInvalidRecord),
		produceAnswer(t),
	))
	publish(t, p, event("orders", "a", 1), 1)
	publish(t, p, event("orders", "a", 2), 2)
	p.Flush(false)
	l.wait(t, 3, 0)
	if len(l.letters) != 2 {
		t.Errorf("%d events are parked, want 2", len(l.letters))
	}
}
