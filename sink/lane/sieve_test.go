package lane

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/schema"
	"walpost/sink/internal/brokermodel"
	"walpost/sink/kafkaerror"
	"walpost/sink/recordbatch"
)

// testSieve holds back the events of some transactions.
type testSieve struct {
	b     *bench
	hold  map[uint64]schema.Verdict
	aside []string
	held  int
	asked int

	halts bool // what is refused is not parked

	meanwhile func() // at the first verdict from now on
}

func (s *testSieve) Parks() bool { return !s.halts }

func (s *testSieve) Open() bool { return len(s.hold) == 0 }

func (s *testSieve) Verdict(_ []byte, from Origin) schema.Verdict {
	s.asked++
	if f := s.meanwhile; f != nil {
		s.meanwhile = nil
		f()
	}
	return s.hold[from.Tx]
}

func (s *testSieve) Aside(b *Batch, verdicts []schema.Verdict) {
	for i, v := range values(b) {
		s.aside = append(s.aside, fmt.Sprint(v, "=", verdicts[i]))
	}
	s.held += b.Held()
	s.b.pool.Put(b)
}

func sieved(t *testing.T, hold map[uint64]schema.Verdict) (*bench, *testSieve) {
	b := newBench(t, Identity{Next: 10})
	s := &testSieve{b: b, hold: hold}
	b.lane.sieve = s
	return b, s
}

// An event that is held back gets no sequence, and the others close the gap. Together they hold the same bytes as before.
func TestSieve(t *testing.T) {
	b, s := sieved(t, map[uint64]schema.Verdict{2: schema.Park, 3: schema.Settle, 5: schema.Park})
	held := 0
	for i := range 4 {
		held += b.write(fmt.Sprint("v", i), 1<<20)
	}
	b.lane.HandOver(time.Now())
	b.lane.full, b.lane.open = append(b.lane.full, b.lane.open), nil
	b.batchOf(1) // only an event that is held back
	b.batchOf(1)
	head := b.take()
	if got := fmt.Sprint(values(head)); got != "[1:v0 4:v3]" || head.seq != 10 || head.Held()+s.held != held {
		t.Errorf("sent %s from %d, holding %d and %d of %d", got, head.seq, head.Held(), s.held, held)
	}
	b.lane.Settle(Outcome{})
	if head = b.take(); fmt.Sprint(values(head)) != "[6:v5]" || head.seq != 12 {
		t.Errorf("then %v from %d", values(head), head.seq)
	}
	if want := []string{"2:v1=1", "3:v2=2", "5:v4=1"}; !slices.Equal(s.aside, want) {
		t.Errorf("held back %v, want %v", s.aside, want)
	}
}

// An open sieve is not asked.
func TestOpenSieve(t *testing.T) {
	b, s := sieved(t, nil)
	b.batchOf(3)
	if b.take().Count() != 3 || s.asked != 0 {
		t.Errorf("asked %d times", s.asked)
	}
}

// A refused event is set aside. What was divided with it goes through the sieve again, and gets the sequences that it had not used.
func TestSetAside(t *testing.T) {
	for _, unclear := range []bool{false, true} {
		b, s := sieved(t, nil)
		b.batchOf(5)
		b.batchOf(1)
		b.take()
		b.lane.unclear = unclear
		if step, _ := b.lane.Settle(Outcome{Err: sarama.ErrInvalidRecord, Named: []int32{1}}); unclear != (step == Renew) {
			t.Fatalf("unclear %v: divided, step %d", unclear, step)
		}
		b.lane.unclear = false
		b.take()
		b.lane.Settle(Outcome{}) // the first event
		b.take()
		b.lane.unclear = unclear
		step, head := b.lane.Settle(Outcome{Err: sarama.ErrInvalidRecord, Named: []int32{0}})
		if step != SetAside || fmt.Sprint(values(head)) != "[2:v1]" {
			t.Fatalf("step %d with %v", step, head)
		}
		s.hold = map[uint64]schema.Verdict{4: schema.Park}
		want, first := SendNext, int32(11)
		if unclear { // the sequence of the event may be in the log
			want, first = Renew, 0
		}
		if step := b.lane.Next(); step != want {
			t.Fatalf("next %d, want %d", step, want)
		}
		if unclear {
			b.lane.Renumber(Identity{Producer: 2})
		}
		head = b.take()
		if got := fmt.Sprint(values(head)); got != "[3:v2 5:v4]" || head.seq != first {
			t.Errorf("unclear %v: then %s from %d, want %d", unclear, got, head.seq, first)
		}
		b.lane.Settle(Outcome{})
		if head = b.take(); fmt.Sprint(values(head)) != "[6:v5]" || head.seq != first+2 || fmt.Sprint(s.aside) != "[4:v3=1]" {
			t.Errorf("unclear %v: at last %v from %d; held back %v", unclear, values(head), head.seq, s.aside)
		}
		if step, _ := b.lane.Settle(Outcome{}); step != Empty {
			t.Errorf("step %d", step)
		}
	}
}

// A refused event that was the lane's last one leaves an idle lane.
func TestSetAsideTheLastEvent(t *testing.T) {
	b, _ := sieved(t, nil)
	b.batchOf(1)
	b.take()
	if step, _ := b.lane.Settle(Outcome{Err: sarama.ErrInvalidRecord}); step != SetAside {
		t.Fatalf("step %d", step)
	}
	if step := b.lane.Next(); step != Empty || b.lane.state != idle {
		t.Errorf("step %d, state %d", step, b.lane.state)
	}
	b.batchOf(1)
	b.lane.Wake()
	if head := b.take(); head == nil || head.seq != 10 {
		t.Errorf("then %v", head)
	}
}

// Where refused events are not parked, the lane stops at one.
func TestSieveThatDoesNotPark(t *testing.T) {
	b, s := sieved(t, nil)
	s.halts = true
	b.batchOf(1)
	b.batchOf(1)
	b.take()
	if step, head := b.lane.Settle(Outcome{Err: sarama.ErrInvalidRecord}); step != Reject || fmt.Sprint(values(head)) != "[1:v0]" || b.take() != nil {
		t.Errorf("step %d with %v, or the lane goes on", step, head)
	}
}

// What is put first gets its sequences before everything that has none yet, also before what the lane gets while it is being put. It cannot be
// put while events are at the sieve, because these would be sent before it.
func TestPutFirst(t *testing.T) {
	b, s := sieved(t, map[uint64]schema.Verdict{2: schema.Park})
	b.lane.Accept(3)
	first := func(value string) []*Batch {
		one := b.pool.Get()
		b.tx++
		r := &recordbatch.Record{Value: []byte(value)}
		one.Append(r, r.Size(), Origin{Tx: b.tx})
		return []*Batch{one}
	}
	b.batchOf(1)
	b.take() // v0 is under way
	b.batchOf(2)
	put := func(partitions int, allowed bool) bool {
		put, _ := b.lane.PutFirst(partitions, func() ([]*Batch, bool) {
			if !allowed {
				return nil, false
			}
			return first("first"), true
		})
		return put
	}
	if put(2, true) || put(3, false) || !put(3, true) {
		t.Error("put without being allowed, or not put")
	}
	b.lane.Settle(Outcome{})
	s.meanwhile = func() {
		if put(3, true) {
			t.Error("put while events are at the sieve")
		}
		if ok, _ := b.lane.PutLast(first("last"), 3); !ok {
			t.Error("not put at the end, although that is always possible")
		}
	}
	var sent []string
	for head := b.take(); head != nil; head = b.take() {
		for _, v := range values(head) {
			sent = append(sent, v[strings.Index(v, ":")+1:])
		}
		if step, _ := b.lane.Settle(Outcome{}); step == Empty {
			break
		}
	}
	if got := strings.Join(sent, " "); got != "first v2 last" {
		t.Errorf("sent %s", got)
	}
}

// What is put last comes behind the batch that the publishing goroutine has taken.
func TestPutLast(t *testing.T) {
	b, _ := sieved(t, nil)
	b.lane.Accept(1)
	b.batchOf(1)
	b.lane.Enter(1)
	one := b.pool.Get()
	r := &recordbatch.Record{Value: []byte("last")}
	one.Append(r, r.Size(), Origin{Tx: 99})
	if ok, _ := b.lane.PutLast([]*Batch{one}, 2); ok {
		t.Error("put into a lane of a topic with another number of partitions")
	}
	if ok, route := b.lane.PutLast([]*Batch{one}, 1); !ok || route {
		t.Errorf("put %v, route %v: the lane has a driver", ok, route)
	}
	b.write("v1", 1<<20)
	b.lane.HandOver(time.Now())
	b.batchOf(1)
	var sent []string
	for step := SendNext; step == SendNext; step, _ = b.lane.Settle(Outcome{}) {
		sent = append(sent, values(b.take())...)
	}
	if got := strings.Join(sent, " "); got != "1:v0 2:v1 99:last 3:v2" {
		t.Errorf("sent %s", got)
	}
}

// What is taken back goes through the sieve again, also what has sequences. What is left is sent under the sequences that were not used, or
// under the next epoch of the producer id if they may be in the log.
func TestTakeBack(t *testing.T) {
	for _, unclear := range []bool{false, true} {
		b, s := sieved(t, nil)
		b.batchOf(3)
		b.take() // they are sealed
		b.batchOf(1)
		b.batchOf(1)
		failure := error(sarama.ErrTopicAuthorizationFailed)
		if unclear {
			failure = sarama.ErrRequestTimedOut
		}
		if step, _ := b.lane.Settle(Outcome{Err: failure}); step != Resend {
			t.Fatalf("step %d", step)
		}
		s.hold = map[uint64]schema.Verdict{1: schema.Wait, 3: schema.Settle, 5: schema.Wait}
		s.meanwhile = func() {
			if since, _ := b.lane.Waiting(); since.IsZero() {
				t.Error("events at the sieve do not count as waiting")
			}
		}
		if step := b.lane.TakeBack(); step != SendNext {
			t.Fatalf("step %d although events are left", step)
		}
		if want := []string{"1:v0=3", "3:v2=2", "5:v4=3"}; !slices.Equal(s.aside, want) {
			t.Errorf("unclear %v: held back %v, want %v", unclear, s.aside, want)
		}
		s.hold = nil
		b.lane.SetSender(b.sender)
		epoch, seq := int16(0), int32(10)
		if unclear {
			epoch, seq = 1, 0
		}
		head := b.take()
		if got := fmt.Sprint(values(head)); got != "[2:v1]" || head.seq != seq || b.lane.id.Epoch != epoch {
			t.Errorf("unclear %v: then %s from %d, epoch %d", unclear, got, head.seq, b.lane.id.Epoch)
		}
		b.lane.Settle(Outcome{})
		if head = b.take(); fmt.Sprint(values(head)) != "[4:v3]" || head.seq != seq+1 {
			t.Errorf("unclear %v: at last %v from %d", unclear, values(head), head.seq)
		}
		b.lane.Settle(Outcome{})
	}
}

// When later events have arrived, a request that was taken back, and is still on its way, comes to nothing: the broker refuses its epoch.
func TestTakenBackComesLate(t *testing.T) {
	b, s := sieved(t, nil)
	partition := brokermodel.New(brokermodel.Kafka43)
	request := func(events ...uint64) brokermodel.Request {
		return brokermodel.NewRequest(b.take().Wire(), events, make([]bool, len(events)))
	}
	b.batchOf(2)
	late := request(1, 2)
	b.lane.Settle(Outcome{Err: sarama.ErrRequestTimedOut})
	s.hold = map[uint64]schema.Verdict{1: schema.Settle, 2: schema.Settle}
	b.lane.TakeBack()
	s.hold = nil
	for n, events := range [][]uint64{{3, 4}, {5}} {
		b.lane.SetSender(b.sender)
		b.batchOf(len(events))
		if a, isNew := partition.Produce(request(events...)); !isNew {
			t.Fatalf("request %d: %v", n, a.Err)
		}
		b.lane.Settle(Outcome{})
	}
	if a, isNew := partition.Produce(late); isNew || kafkaerror.Classify(a.Err) != kafkaerror.Lost {
		t.Errorf("the request that comes late is appended: %t, %v", isNew, a.Err)
	}
}

// A batch that was taken back, and passes the sieve as a whole, is sent under the lane's present epoch and sequence.
func TestTakenBackAsAWhole(t *testing.T) {
	b, s := sieved(t, nil)
	b.batchOf(2)
	if r := brokermodel.NewRequest(b.take().Wire(), []uint64{1, 2}, []bool{true, true}); r.Epoch != 0 || r.First != 10 {
		t.Fatalf("epoch %d, sequence %d", r.Epoch, r.First)
	}
	b.lane.Settle(Outcome{Err: sarama.ErrRequestTimedOut})
	s.hold = map[uint64]schema.Verdict{99: schema.Wait}
	b.lane.TakeBack()
	b.lane.SetSender(b.sender)
	if r := brokermodel.NewRequest(b.take().Wire(), []uint64{1, 2}, []bool{true, true}); r.Epoch != 1 || r.First != 0 {
		t.Errorf("then epoch %d, sequence %d", r.Epoch, r.First)
	}
}

// Behind the last epoch comes one that the broker refuses.
func TestLastEpoch(t *testing.T) {
	b, s := sieved(t, nil)
	b.lane.id.Epoch = math.MaxInt16
	partition := brokermodel.New(brokermodel.Kafka43)
	b.batchOf(1)
	if a, _ := partition.Produce(brokermodel.NewRequest(b.take().Wire(), []uint64{1}, []bool{true})); a.Err != nil {
		t.Fatal(a.Err)
	}
	b.lane.Settle(Outcome{Err: sarama.ErrRequestTimedOut})
	s.hold = map[uint64]schema.Verdict{1: schema.Settle}
	b.lane.TakeBack()
	b.lane.SetSender(b.sender)
	b.batchOf(1)
	a, _ := partition.Produce(brokermodel.NewRequest(b.take().Wire(), []uint64{2}, []bool{true}))
	if step, _ := b.lane.Settle(Outcome{Err: a.Err}); step != Renew {
		t.Errorf("%v, and then step %d", a.Err, step)
	}
}

// The same holds for a batch whose connection was cut: it may be in the log.
func TestTakeBackAfterACut(t *testing.T) {
	b, s := sieved(t, nil)
	b.batchOf(2)
	b.take()
	if step, _ := b.lane.Settle(Outcome{Err: &kafkaerror.RequestCut{}}); step != Renew {
		t.Fatalf("step %d", step)
	}
	s.hold = map[uint64]schema.Verdict{1: schema.Settle, 2: schema.Settle}
	if step := b.lane.TakeBack(); step != Empty {
		t.Fatalf("step %d", step)
	}
	b.lane.SetSender(b.sender)
	b.batchOf(2)
	if head := b.take(); head.seq != 0 || b.lane.id.Epoch != 1 {
		t.Errorf("then from %d, epoch %d: these sequences may be in the log", head.seq, b.lane.id.Epoch)
	}
}

// If nothing is left, the lane is idle, and takes events as before.
func TestTakeBackEverything(t *testing.T) {
	b, s := sieved(t, nil)
	b.batchOf(2)
	b.take()
	b.lane.Settle(Outcome{Err: sarama.ErrUnknownTopicOrPartition})
	s.hold = map[uint64]schema.Verdict{1: schema.Wait, 2: schema.Wait}
	if step := b.lane.TakeBack(); step != Empty || b.lane.state != idle || b.lane.Held() != 0 {
		t.Fatalf("step %d, state %d, %d bytes held", step, b.lane.state, b.lane.Held())
	}
	b.lane.SetSender(b.sender)
	b.batchOf(1)
	if head := b.take(); head == nil || head.seq != 10 {
		t.Errorf("then %v", head)
	}
}
