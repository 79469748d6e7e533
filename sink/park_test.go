package sink

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"walpost/internal/kafkatest"
	"walpost/schema"
)

// quietLedger is a ledger that parks one event.
type quietLedger struct{ *ledger }

func (quietLedger) Parks() bool { return true }

func (quietLedger) Sifting() bool { return true }

func (quietLedger) Refused(schema.Position, uint64) bool { return true }

func (l quietLedger) Verdict(_ string, _ []byte, _ schema.Position, tx uint64) schema.Verdict {
	if tx == 8 { // what is behind a refused event
		return schema.Park
	}
	return schema.Send
}

func (l quietLedger) Park(letters []*schema.DeadLetter) {
	for _, one := range letters {
		l.Rejected(one.Tx, fmt.Errorf("%s: %s", one.Code, one.Detail))
	}
}

// Dead letters that are published again have the header walpost_replay and hold no bytes. Events with which a key flows again have it too,
// count for the bytes that they hold, and are sent only if the key is let flow, and only if all of them have one lane.
func TestReplayAndResume(t *testing.T) {
	t.Parallel()
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 3, nil)
	l := quietLedger{newLedger()}
	p := open(t, config(t, brokers), l)
	letter := func(n uint64, partition int32) *schema.DeadLetter {
		return &schema.DeadLetter{Topic: topic, Partition: partition, Key: []byte("a"), Value: fmt.Append(nil, n), At: schema.Position{LSN: n}, Tx: n, Held: 10,
			Timestamp: time.Now().UnixMilli(), Headers: slices.Values([]schema.DeadHeader{{Name: []byte("id"), Value: fmt.Append(nil, n)}})}
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
			if m.Partition != 2 || string(m.Value) != "4" {
				got = append(got, string(m.Value))
			}
		}
	}
	if text := strings.Join(got, " "); text != "1 2 3 6 7" {
		t.Errorf("published %s", text)
	}
}
