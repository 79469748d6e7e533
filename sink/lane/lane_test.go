package lane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/recordbatch"
)

// errNoAnswer is an error without a code.
var errNoAnswer = errors.New("the broker's answer leaves the partition out")

// testSender is a stand-in for the sender of a broker.
type testSender struct{ encoder *recordbatch.Encoder }

func (*testSender) Addr() string { return "broker:9092" }

// bench is a lane and everything around it, except a broker.
type bench struct {
	testing.TB
	lane   *Lane
	pool   Pool
	sender *testSender
	tx     uint64
}

func newBench(t testing.TB, id Identity) *bench {
	e, err := recordbatch.NewEncoder(recordbatch.None)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, sender: &testSender{encoder: e}}
	b.lane = New(id, &b.pool, nil)
	b.lane.sender = b.sender
	return b
}

// write appends one record, as Publish does, and returns the bytes that it holds.
func (b *bench) write(value string, limit int) int {
	r := &recordbatch.Record{Timestamp: 1000, Value: []byte(value)}
	size := r.Size()
	if !b.lane.Entered() {
		b.lane.Enter(int(b.lane.partitions))
	}
	b.tx++
	return b.lane.Append(r, size, limit, Origin{Tx: b.tx}, false)
}

// batchOf writes n records into a new batch and hands it over.
func (b *bench) batchOf(n int) {
	for range n {
		b.write(fmt.Sprintf("v%d", b.tx), math.MaxInt)
	}
	b.lane.HandOver(time.Now())
	b.lane.full, b.lane.open = append(b.lane.full, b.lane.open), nil
}

func (b *bench) take() *Batch {
	b.Helper()
	head, err := b.lane.Take(b.sender, b.sender.encoder, "")
	if err != nil {
		b.Fatal(err)
	}
	return head
}

// numbers returns the batches that have sequences, as first+count.
func (b *bench) numbers() []string {
	var list []string
	for _, n := range b.lane.numbered {
		list = append(list, fmt.Sprintf("%d+%d", n.seq, n.Count()))
	}
	return list
}

func values(b *Batch) []string {
	var list []string
	b.Each(func(_ int, r recordbatch.Raw, from Origin) {
		tx := from.Tx
		list = append(list, fmt.Sprintf("%d:%s", tx, r.Record().Value))
	})
	return list
}

// A lane whose events are all acked is idle. Adding events queues it, once.
func TestLaneRestsAndWakes(t *testing.T) {
	b := newBench(t, Identity{})
	if b.lane.queueIfIdle() {
		t.Error("a lane without work was queued")
	}
	b.write("a", math.MaxInt)
	if route, _ := b.lane.HandOver(time.Now()); !route {
		t.Error("a lane with work was not queued")
	}
	b.write("a", math.MaxInt)
	if route, _ := b.lane.HandOver(time.Now()); route {
		t.Error("a lane was queued twice")
	}
	b.take()
	b.write("b", math.MaxInt)
	if route, _ := b.lane.HandOver(time.Now()); route {
		t.Error("a lane was queued while its batch was under way")
	}
	if step, _ := b.lane.Settle(Outcome{}); step != SendNext {
		t.Errorf("step %d with work left", step)
	}
	b.take()
	if step, _ := b.lane.Settle(Outcome{}); step != Empty {
		t.Errorf("step %d without work", step)
	}
	b.write("c", math.MaxInt)
	if route, _ := b.lane.HandOver(time.Now()); !route {
		t.Error("a lane at rest was not queued")
	}
}

// The publishing goroutine may take back the batch that the lane was queued for, so a sender may find nothing. The sender must not wait for
// the batch, because it has other lanes too. No event may be forgotten.
func TestSenderComesWhileTheBatchIsWritten(t *testing.T) {
	b := newBench(t, Identity{})
	b.write("a", math.MaxInt)
	b.lane.HandOver(time.Now())
	b.write("b", math.MaxInt)
	if head := b.take(); head != nil {
		t.Fatalf("a batch was taken while it was written: %v", values(head))
	}
	if route, _ := b.lane.HandOver(time.Now()); !route {
		t.Fatal("the lane was not queued again")
	}
	if got := values(b.take()); fmt.Sprint(got) != "[1:a 2:b]" {
		t.Errorf("taken: %v", got)
	}
}

// A sender that no longer has the lane takes nothing from it.
func TestOnlyTheLanesSenderTakes(t *testing.T) {
	b := newBench(t, Identity{})
	b.batchOf(2)
	if head, err := b.lane.Take(&testSender{}, b.sender.encoder, ""); head != nil || err != nil {
		t.Errorf("another sender took %v, %v", head, err)
	}
	b.take()
	if head := b.take(); head != nil {
		t.Error("a batch was taken twice")
	}
	b.lane.Settle(Outcome{Err: io.EOF})
	if head := b.take(); head != nil {
		t.Error("a batch was taken from a lane without a sender")
	}
}

// Batches stay below the limit. A record that is larger is sent alone, in its order.
func TestBatchesKeepTheLimit(t *testing.T) {
	b := newBench(t, Identity{})
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
			b.lane.HandOver(time.Now())
		}
	}
	b.lane.HandOver(time.Now())
	want, sum := 1, 0
	for batch := b.take(); batch != nil; batch = b.take() {
		if batch.Count() > 1 && len(batch.Wire()) > limit {
			t.Errorf("a batch of %d records has %d bytes", batch.Count(), len(batch.Wire()))
		}
		batch.Each(func(_ int, r recordbatch.Raw, from Origin) {
			tx := from.Tx
			if tx != uint64(want) {
				t.Fatalf("event %d, want %d", tx, want)
			}
			want++
		})
		sum += batch.held
		b.lane.Settle(Outcome{})
	}
	if want != 41 || sum != held {
		t.Errorf("%d events of 40, holding %d bytes of %d", want-1, sum, held)
	}
}

// Behind a rejected event the lane sends nothing, and later events stay in it.
func TestLaneStopsBehindARejectedEvent(t *testing.T) {
	b := newBench(t, Identity{})
	b.batchOf(3)
	b.take()
	b.lane.Settle(Outcome{Err: sarama.ErrInvalidRecord, Named: []int32{1}})
	if got := values(b.take()); fmt.Sprint(got) != "[1:v0]" {
		t.Fatalf("first %v", got)
	}
	b.lane.Settle(Outcome{})
	if got := values(b.take()); fmt.Sprint(got) != "[2:v1]" {
		t.Fatalf("then %v", got)
	}
	if step, head := b.lane.Settle(Outcome{Err: sarama.ErrInvalidRecord, Named: []int32{0}}); step != Reject || fmt.Sprint(values(head)) != "[2:v1]" {
		t.Fatalf("step %d", step)
	}
	b.batchOf(2)
	if b.lane.queueIfIdle() || b.take() != nil {
		t.Error("the lane sent an event behind a rejected one")
	}
}

// A lane waits for nothing if its open batch was taken back for another pass, and everything has been acked since.
func TestNothingWaitsOnceAcked(t *testing.T) {
	var pool Pool
	l := New(Identity{}, &pool, nil)
	l.Accept(1)
	for range 2 {
		l.Enter(1)
		l.writable(10, 1000)
		l.HandOver(time.Now())
	}
	if since, _ := l.Waiting(); since.IsZero() {
		t.Error("a lane with an open batch counts as not waiting")
	}
	l.open = nil
	if since, _ := l.Waiting(); !since.IsZero() {
		t.Errorf("an empty lane waits since %v", since)
	}
}

// An open batch that a lane got in the middle of a pass would be lost at the end of the pass. So the lane panics.
func TestHandOverFindsItsPlaceTaken(t *testing.T) {
	b := newBench(t, Identity{})
	b.write("a", math.MaxInt)
	waiting := &recordbatch.Batch{}
	r := &recordbatch.Record{Value: []byte("b")}
	waiting.Append(r, r.Size())
	waiting.Each(func(_ int, r recordbatch.Raw) {
		b.lane.AppendWaiting(r, Origin{Tx: 2}, r.Len, false, time.Now(), math.MaxInt)
	})
	defer func() {
		if recover() == nil {
			t.Error("one of two open batches was dropped")
		}
	}()
	b.lane.HandOver(time.Now())
}
