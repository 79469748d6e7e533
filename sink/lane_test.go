package sink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/IBM/sarama"

	"walpost/sink/recordbatch"
)

// bench is a lane with what it needs around it, and no broker.
type bench struct {
	testing.TB
	lane   *lane
	pool   pool
	sender *sender
	tx     uint64
}

func newBench(t testing.TB, id identity) *bench {
	e, err := recordbatch.NewEncoder(recordbatch.None)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, sender: &sender{encoder: e}}
	b.lane = newLane(&topic{name: "t"}, 0, id)
	b.lane.on = b.sender
	return b
}

// write appends one record, as Publish does, and returns the bytes that it holds.
func (b *bench) write(value string, limit int) int {
	r := &recordbatch.Record{Timestamp: 1000, Value: []byte(value)}
	size := r.Size()
	batch := b.lane.writable(&b.pool, size+recordbatch.Overhead, limit)
	n := batch.Append(r, size)
	b.tx++
	batch.count(b.tx, n)
	return n
}

// batchOf writes n records into a batch of their own and hands it over.
func (b *bench) batchOf(n int) {
	for range n {
		b.write(fmt.Sprintf("v%d", b.tx), math.MaxInt)
	}
	b.lane.handOver()
	b.lane.full, b.lane.open = append(b.lane.full, b.lane.open), nil
}

func (b *bench) take() *batch {
	b.Helper()
	head, err := b.lane.take(b.sender)
	if err != nil {
		b.Fatal(err)
	}
	return head
}

// numbers are the batches that have sequences, as first+count.
func (b *bench) numbers() []string {
	var list []string
	for _, n := range b.lane.numbered {
		list = append(list, fmt.Sprintf("%d+%d", n.seq, n.Count()))
	}
	return list
}

func values(b *batch) []string {
	var list []string
	b.each(func(_ int, r recordbatch.Raw, tx uint64) {
		list = append(list, fmt.Sprintf("%d:%s", tx, r.Record().Value))
	})
	return list
}

// Which answer leads to which step, from a clear and from an unclear state, for batches of one and of several records.
func TestSettle(t *testing.T) {
	for _, test := range []struct {
		name    string
		err     error
		named   int
		count   int
		unclear bool

		step    step
		state   laneState
		numbers string
		after   bool // unclear
		fails   int
		found   bool // still on its sender
	}{
		{"acked", nil, -1, 3, false, goOn, queued, "[]", false, 0, true},
		{"acked after an unclear attempt", nil, -1, 3, true, goOn, queued, "[]", false, 0, true},
		{"duplicate", sarama.ErrDuplicateSequenceNumber, -1, 3, true, goOn, queued, "[]", false, 0, true},

		{"not the leader", sarama.ErrNotLeaderForPartition, -1, 3, false, resend, queued, "[10+3]", false, 1, false},
		{"not the leader, unclear before", sarama.ErrNotLeaderForPartition, -1, 3, true, resend, queued, "[10+3]", true, 1, false},
		{"too few replicas", sarama.ErrNotEnoughReplicas, -1, 1, false, resend, queued, "[10+1]", false, 1, false},
		{"corrupt", sarama.ErrInvalidMessage, -1, 3, false, resend, queued, "[10+3]", false, 1, false},

		{"timed out", sarama.ErrRequestTimedOut, -1, 3, false, resend, queued, "[10+3]", true, 1, false},
		{"too few replicas after the append", sarama.ErrNotEnoughReplicasAfterAppend, -1, 1, false, resend, queued, "[10+1]", true, 1, false},
		{"connection ended", io.EOF, -1, 3, false, resend, queued, "[10+3]", true, 1, false},
		{"no answer for the partition", errNoAnswer, -1, 3, false, resend, queued, "[10+3]", true, 1, false},
		{"a code that nobody knows", sarama.KError(1234), -1, 3, false, resend, queued, "[10+3]", true, 1, false},

		{"absent", sarama.ErrUnknownTopicOrPartition, -1, 3, false, resend, queued, "[10+3]", false, 1, false},
		{"not allowed, unclear before", sarama.ErrTopicAuthorizationFailed, -1, 3, true, resend, queued, "[10+3]", true, 1, false},

		{"too large", sarama.ErrMessageSizeTooLarge, -1, 4, false, goOn, queued, "[10+2 12+2]", false, 0, true},
		{"too large, odd", sarama.ErrMessageSizeTooLarge, -1, 5, false, goOn, queued, "[10+2 12+3]", false, 0, true},
		{"too large, two", sarama.ErrMessageSizeTooLarge, -1, 2, false, goOn, queued, "[10+1 11+1]", false, 0, true},
		{"too large, alone", sarama.ErrMessageSizeTooLarge, -1, 1, false, reject, stopped, "[10+1]", false, 0, true},
		{"too large, alone, unclear before", sarama.ErrMessageSizeTooLarge, -1, 1, true, reject, stopped, "[10+1]", true, 0, true},
		{"too large, unclear before", sarama.ErrMessageSizeTooLarge, -1, 4, true, renew, queued, "[10+2 12+2]", true, 0, true},
		{"named first", sarama.ErrInvalidRecord, 0, 4, false, goOn, queued, "[10+1 11+3]", false, 0, true},
		{"named in the middle", sarama.ErrInvalidRecord, 2, 4, false, goOn, queued, "[10+2 12+1 13+1]", false, 0, true},
		{"named last", sarama.ErrInvalidTimestamp, 3, 4, false, goOn, queued, "[10+3 13+1]", false, 0, true},
		{"named, unclear before", sarama.ErrInvalidRecord, 1, 4, true, renew, queued, "[10+1 11+1 12+2]", true, 0, true},
		{"named beyond the batch", sarama.ErrInvalidRecord, 4, 4, false, goOn, queued, "[10+2 12+2]", false, 0, true},
		{"named below the batch", sarama.ErrInvalidRecord, math.MinInt32, 4, false, goOn, queued, "[10+2 12+2]", false, 0, true},
		{"named alone", sarama.ErrInvalidRecord, 0, 1, false, reject, stopped, "[10+1]", false, 0, true},

		{"out of order", sarama.ErrOutOfOrderSequenceNumber, -1, 3, false, renew, queued, "[10+3]", false, 1, true},
		{"out of order, unclear before", sarama.ErrOutOfOrderSequenceNumber, -1, 3, true, renew, queued, "[10+3]", true, 1, true},
		{"producer unknown", sarama.ErrUnknownProducerID, -1, 1, false, renew, queued, "[10+1]", false, 1, true},
		{"epoch", sarama.ErrInvalidProducerEpoch, -1, 1, false, renew, queued, "[10+1]", false, 1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, identity{producer: 1, next: 10})
			b.batchOf(test.count)
			b.batchOf(1) // what comes next
			head := b.take()
			want := values(head)
			b.lane.unclear = test.unclear
			step, done := b.lane.settle(outcome{err: test.err, named: test.named}, &b.pool)
			if step != test.step || b.lane.state != test.state || fmt.Sprint(b.numbers()) != test.numbers || b.lane.unclear != test.after ||
				b.lane.failures != test.fails || (b.lane.on != nil) != test.found || b.lane.blocked.IsZero() != (test.fails == 0) {
				t.Errorf("step %d, state %d, numbered %v, unclear %t, %d failures, found %t; want step %d, state %d, numbered %v, unclear %t, %d failures, found %t",
					step, b.lane.state, b.numbers(), b.lane.unclear, b.lane.failures, b.lane.on != nil,
					test.step, test.state, test.numbers, test.after, test.fails, test.found)
			}
			if over := test.numbers == "[]" || test.step == reject; over != (done == head) || !over && done != nil {
				t.Errorf("settle returned %v, the head being %v", done, head)
			}
			if test.numbers == "[]" {
				return
			}
			var got []string
			for _, n := range b.lane.numbered {
				got = append(got, values(n)...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("numbered records %v, want %v", got, want)
			}
		})
	}
}

// An acked lane without work rests, and whoever gives it work queues it, once.
func TestLaneRestsAndWakes(t *testing.T) {
	b := newBench(t, identity{})
	if b.lane.wake() {
		t.Error("a lane without work was queued")
	}
	b.write("a", math.MaxInt)
	if !b.lane.handOver() {
		t.Error("a lane with work was not queued")
	}
	b.write("a", math.MaxInt)
	if b.lane.handOver() {
		t.Error("a lane was queued twice")
	}
	b.take()
	b.write("b", math.MaxInt)
	if b.lane.handOver() {
		t.Error("a lane was queued while its batch was under way")
	}
	if step, _ := b.lane.settle(outcome{}, &b.pool); step != goOn {
		t.Errorf("step %d with work left", step)
	}
	b.take()
	if step, _ := b.lane.settle(outcome{}, &b.pool); step != rest {
		t.Errorf("step %d without work", step)
	}
	b.write("c", math.MaxInt)
	if !b.lane.handOver() {
		t.Error("a lane at rest was not queued")
	}
}

// The publishing goroutine goes on with the batch that the lane was queued for, so a sender may come to nothing. It must not wait for
// more, for it belongs to other lanes too, and nothing may be forgotten.
func TestSenderComesWhileTheBatchIsWritten(t *testing.T) {
	b := newBench(t, identity{})
	b.write("a", math.MaxInt)
	b.lane.handOver()
	b.write("b", math.MaxInt)
	if head := b.take(); head != nil {
		t.Fatalf("a batch was taken while it was written: %v", values(head))
	}
	if !b.lane.handOver() {
		t.Fatal("the lane was not queued again")
	}
	if got := values(b.take()); fmt.Sprint(got) != "[1:a 2:b]" {
		t.Errorf("taken: %v", got)
	}
}

// A sender whom the lane has left takes nothing from it.
func TestOnlyTheLanesSenderTakes(t *testing.T) {
	b := newBench(t, identity{})
	b.batchOf(2)
	if head, err := b.lane.take(&sender{encoder: b.sender.encoder}); head != nil || err != nil {
		t.Errorf("another sender took %v, %v", head, err)
	}
	b.take()
	if head := b.take(); head != nil {
		t.Error("a batch was taken twice")
	}
	b.lane.settle(outcome{err: io.EOF, named: -1}, &b.pool)
	if head := b.take(); head != nil {
		t.Error("a lane was taken from whose leader is being looked for")
	}
}

// Batches keep below the limit, and a record that is larger goes alone, in its place.
func TestBatchesKeepTheLimit(t *testing.T) {
	b := newBench(t, identity{})
	const limit = 300
	large := string(bytes.Repeat([]byte("L"), 2*limit))
	held := 0
	for i := range 40 {
		value := fmt.Sprint(i)
		if i%10 == 5 {
			value = large
		}
		held += b.write(value, limit)
		if i%7 == 0 {
			b.lane.handOver()
		}
	}
	b.lane.handOver()
	want, sum := 1, 0
	for batch := b.take(); batch != nil; batch = b.take() {
		if batch.Count() > 1 && len(batch.Wire()) > limit {
			t.Errorf("a batch of %d records has %d bytes", batch.Count(), len(batch.Wire()))
		}
		batch.each(func(_ int, r recordbatch.Raw, tx uint64) {
			if tx != uint64(want) {
				t.Fatalf("event %d, want %d", tx, want)
			}
			want++
		})
		sum += batch.held
		b.lane.settle(outcome{}, &b.pool)
	}
	if want != 41 || sum != held {
		t.Errorf("%d events of 40, holding %d bytes of %d", want-1, sum, held)
	}
}

// A batch is sent as the same bytes until it is settled, whatever happens behind it and whoever sends it.
func TestResendIsTheSameBytes(t *testing.T) {
	b := newBench(t, identity{producer: 3, epoch: 4, next: 5})
	b.batchOf(3)
	first := bytes.Clone(b.take().Wire())
	for _, err := range []error{io.EOF, sarama.ErrNotLeaderForPartition, sarama.ErrRequestTimedOut, sarama.ErrUnknownTopicOrPartition} {
		b.lane.settle(outcome{err: err, named: -1}, &b.pool)
		b.batchOf(2)
		b.sender = &sender{encoder: gzip(t)}
		b.lane.on = b.sender // found
		if again := b.take().Wire(); !bytes.Equal(again, first) {
			t.Errorf("after %v other bytes were sent", err)
		}
	}
}

// Behind a rejected event the lane stands still, and what is published for it stays.
func TestLaneStopsBehindARejectedEvent(t *testing.T) {
	b := newBench(t, identity{})
	b.batchOf(3)
	b.take()
	b.lane.settle(outcome{err: sarama.ErrInvalidRecord, named: 1}, &b.pool)
	if got := values(b.take()); fmt.Sprint(got) != "[1:v0]" {
		t.Fatalf("first %v", got)
	}
	b.lane.settle(outcome{}, &b.pool)
	if got := values(b.take()); fmt.Sprint(got) != "[2:v1]" {
		t.Fatalf("then %v", got)
	}
	if step, head := b.lane.settle(outcome{err: sarama.ErrInvalidRecord, named: 0}, &b.pool); step != reject || fmt.Sprint(values(head)) != "[2:v1]" {
		t.Fatalf("step %d", step)
	}
	b.batchOf(2)
	if b.lane.wake() || b.take() != nil {
		t.Error("the lane went on behind a rejected event")
	}
}

func TestSequencesWrap(t *testing.T) {
	const last = math.MaxInt32
	for _, test := range []struct {
		first, count, next int32
	}{{last, 1, 0}, {last, 2, 1}, {last - 2, 5, 2}, {last - 4, 5, 0}, {0, last, last}, {5, 0, 5}} {
		id := identity{next: test.first}
		if got := id.advance(test.count); got != test.first || id.next != test.next {
			t.Errorf("%d records from %d: first %d, next %d, want %d", test.count, test.first, got, id.next, test.next)
		}
	}
	// Dividing a batch across the end.
	b := newBench(t, identity{next: last - 1})
	b.batchOf(5)
	b.take()
	b.lane.settle(outcome{err: sarama.ErrInvalidRecord, named: 2}, &b.pool)
	if got := fmt.Sprint(b.numbers()); got != fmt.Sprintf("[%d+2 0+1 1+2]", last-1) {
		t.Errorf("divided: %v", got)
	}
	b.batchOf(1)
	for range 3 {
		b.take()
		b.lane.settle(outcome{}, &b.pool)
	}
	if b.take(); fmt.Sprint(b.numbers()) != "[3+1]" {
		t.Errorf("then %v", b.numbers())
	}
}

// A new identity counts from where it is to, over everything that has a number, in order; what has none yet follows.
func TestRenumber(t *testing.T) {
	b := newBench(t, identity{producer: 1, epoch: 1, next: 100})
	b.batchOf(6)
	b.take()
	b.lane.settle(outcome{err: sarama.ErrInvalidRecord, named: 2}, &b.pool)
	head := b.take() // sealed: the first of the parts
	b.lane.settle(outcome{err: io.EOF, named: -1}, &b.pool)
	b.lane.renumber(identity{producer: 2, epoch: 7, next: 1<<31 - 1})
	if got := fmt.Sprint(b.numbers()); got != "[2147483647+2 1+1 2+3]" || b.lane.unclear {
		t.Errorf("renumbered: %v, unclear %t", got, b.lane.unclear)
	}
	anew := &recordbatch.Batch{}
	head.Each(func(_ int, r recordbatch.Raw) { anew.AppendRaw(r) })
	if err := anew.Seal(b.sender.encoder, recordbatch.Stamp{ProducerID: 2, Epoch: 7, Sequence: 1<<31 - 1}); err != nil || !bytes.Equal(anew.Wire(), head.Wire()) {
		t.Errorf("the sealed head is not what sealing it with the new identity gives, %v", err)
	}
	b.batchOf(1)
	b.lane.on = b.sender
	for range 3 {
		b.take()
		b.lane.settle(outcome{}, &b.pool)
	}
	if b.take(); fmt.Sprint(b.numbers()) != "[5+1]" {
		t.Errorf("then %v", b.numbers())
	}
}

// Dividing keeps order, transactions and bytes held.
func TestDivide(t *testing.T) {
	make := func() *batch {
		b := &batch{}
		for i, tx := range []uint64{7, 7, 8, 9, 9, 9, 10} {
			// Times that are far from each other make parts longer than they were in the whole.
			r := &recordbatch.Record{Timestamp: int64(i%2) << 40, Value: fmt.Appendf(nil, "v%d", i)}
			b.count(tx, b.Append(r, r.Size()))
		}
		return b
	}
	whole := values(make())
	for _, test := range []struct {
		cuts []int
		want string
	}{
		{[]int{3}, "[3 4]"}, {[]int{0, 1}, "[1 6]"}, {[]int{1, 2}, "[1 1 5]"}, {[]int{5, 6}, "[5 1 1]"}, {[]int{6, 7}, "[6 1]"}, {[]int{1}, "[1 6]"}, {[]int{6}, "[6 1]"},
	} {
		b := make()
		var counts []int32
		var got []string
		held := 0
		for _, part := range b.divide(&pool{}, test.cuts...) {
			counts = append(counts, part.Count())
			got = append(got, values(part)...)
			held += part.held
			if part.held < 0 {
				t.Errorf("cuts %v: a part holds %d bytes", test.cuts, part.held)
			}
			rows := int32(0)
			for _, r := range part.runs {
				rows += r.Rows
			}
			if rows != part.Count() {
				t.Errorf("cuts %v: runs of %d rows for %d records", test.cuts, rows, part.Count())
			}
		}
		if fmt.Sprint(counts) != test.want || !slices.Equal(got, whole) || held != b.held {
			t.Errorf("cuts %v: parts of %v records, want %s; %v, holding %d of %d", test.cuts, counts, test.want, got, held, b.held)
		}
	}
}

// A batch that was divided is divided again, and its parts hold no less than nothing.
func TestDivideAgain(t *testing.T) {
	b := &batch{}
	for i := range 64 {
		r := &recordbatch.Record{Timestamp: 1 << 40}
		if i == 32 {
			r.Timestamp = 0 // the right half's times are written against this one
		}
		b.count(1, b.Append(r, r.Size()))
	}
	want := b.held
	parts := []*batch{b}
	for range 6 {
		var next []*batch
		for _, p := range parts {
			next = append(next, p.divide(&pool{}, int(p.Count())/2)...)
		}
		parts = next
	}
	sum := 0
	for _, p := range parts {
		if sum += p.held; p.held < 0 {
			t.Errorf("a part holds %d bytes", p.held)
		}
	}
	if len(parts) != 64 || sum != want {
		t.Errorf("%d parts hold %d bytes of %d", len(parts), sum, want)
	}
}

// What a batch was used for before does not show.
func TestPoolGivesEmptyBatches(t *testing.T) {
	var p pool
	for i := range 100 {
		b := p.get()
		if b.Count() != 0 || b.Len() != recordbatch.HeadLen || b.Wire() != nil || len(b.runs) != 0 || b.held != 0 || b.seq != 0 {
			t.Fatalf("batch %d is not empty: %+v", i, b)
		}
		r := &recordbatch.Record{Value: make([]byte, 1000)}
		b.count(1, b.Append(r, r.Size()))
		b.seq = 7
		p.put(b)
	}
}

func TestBackoffGrowsToItsMost(t *testing.T) {
	for tries := 1; tries < 100; tries++ {
		most := maxBackoff
		if tries < 10 {
			most = min(minBackoff<<(tries-1), maxBackoff)
		}
		if d := backoff(tries); d > most || d < most*3/4 {
			t.Errorf("attempt %d: %v, want %v at most", tries, d, most)
		}
	}
	if errors.Is(errNoAnswer, io.EOF) || judge(errNoAnswer) != unclear {
		t.Error("an answer that leaves a partition out is not clear")
	}
}
