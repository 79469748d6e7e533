package lane

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/IBM/sarama"

	"walpost/sink/recordbatch"
)

// If a batch was appended and its answer was lost, the broker recognises the batch by its producer id and sequence. So it is sent as the
// same bytes until it is settled, whatever happens behind it and whichever sender sends it.
func TestRetryIsNoDuplicate(t *testing.T) {
	b := newBench(t, Identity{Producer: 3, Epoch: 4, Next: 5})
	b.batchOf(3)
	first := bytes.Clone(b.take().Wire())
	be := binary.BigEndian
	if producer, epoch, sequence := be.Uint64(first[43:]), be.Uint16(first[51:]), be.Uint32(first[53:]); producer != 3 || epoch != 4 || sequence != 5 {
		t.Errorf("sent as producer %d, epoch %d, sequence %d", int64(producer), int16(epoch), int32(sequence))
	}
	for _, err := range []error{io.EOF, sarama.ErrNotLeaderForPartition, sarama.ErrRequestTimedOut, sarama.ErrUnknownTopicOrPartition} {
		if next, _ := b.lane.Settle(Outcome{Err: err}); next != Resend {
			t.Errorf("after %v comes step %d: a new identity would make it another batch", err, next)
		}
		b.batchOf(2)
		b.sender = &testSender{encoder: gzip(t)}
		b.lane.sender = b.sender // found
		if again := b.take().Wire(); !bytes.Equal(again, first) {
			t.Errorf("after %v other bytes were sent", err)
		}
	}
}

func TestSequencesWrap(t *testing.T) {
	const last = math.MaxInt32
	for _, test := range []struct {
		first, count, next int32
	}{{last, 1, 0}, {last, 2, 1}, {last - 2, 5, 2}, {last - 4, 5, 0}, {0, last, last}, {5, 0, 5}} {
		id := Identity{Next: test.first}
		if got := id.advance(test.count); got != test.first || id.Next != test.next {
			t.Errorf("%d records from %d: first %d, next %d, want %d", test.count, test.first, got, id.Next, test.next)
		}
	}
	// Dividing a batch across the end.
	b := newBench(t, Identity{Next: last - 1})
	b.batchOf(5)
	b.take()
	b.lane.Settle(Outcome{Err: sarama.ErrInvalidRecord, Named: []int32{2}})
	if got := fmt.Sprint(b.numbers()); got != fmt.Sprintf("[%d+2 0+1 1+2]", last-1) {
		t.Errorf("divided: %v", got)
	}
	b.batchOf(1)
	for range 3 {
		b.take()
		b.lane.Settle(Outcome{})
	}
	if b.take(); fmt.Sprint(b.numbers()) != "[3+1]" {
		t.Errorf("then %v", b.numbers())
	}
}

// A new identity renumbers all batches that have sequences, in order, from its own first sequence. Batches without sequences follow.
func TestRenumber(t *testing.T) {
	b := newBench(t, Identity{Producer: 1, Epoch: 1, Next: 100})
	b.batchOf(6)
	b.take()
	b.lane.Settle(Outcome{Err: sarama.ErrInvalidRecord, Named: []int32{2}})
	head := b.take() // sealed: the first of the parts
	b.lane.Settle(Outcome{Err: io.EOF})
	b.lane.Renumber(Identity{Producer: 2, Epoch: 7, Next: 1<<31 - 1})
	if got := fmt.Sprint(b.numbers()); got != "[2147483647+2 1+1 2+3]" || b.lane.unclear {
		t.Errorf("renumbered: %v, unclear %t", got, b.lane.unclear)
	}
	anew := &recordbatch.Batch{}
	head.records.Each(func(_ int, r recordbatch.Raw) { anew.AppendRaw(r) })
	if err := anew.Seal(b.sender.encoder, recordbatch.Stamp{ProducerID: 2, Epoch: 7, Sequence: 1<<31 - 1}); err != nil || !bytes.Equal(anew.Wire(), head.Wire()) {
		t.Errorf("the sealed head is not what sealing it with the new identity gives, %v", err)
	}
	b.batchOf(1)
	b.lane.sender = b.sender
	for range 3 {
		b.take()
		b.lane.Settle(Outcome{})
	}
	if b.take(); fmt.Sprint(b.numbers()) != "[5+1]" {
		t.Errorf("then %v", b.numbers())
	}
}
