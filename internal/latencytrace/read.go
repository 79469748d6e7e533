package latencytrace

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Trace is the content of a file, in the order in which it was recorded.
type Trace struct {
	Transactions []Transaction
	Passes       []Pass
	Requests     []Request
	Sessions     int   // if there are several, the numbers of transactions are not unique
	Lost         int64 // records that were dropped
}

// Read reads a trace. It returns an error if the trace ends in the middle of a record, which happens if the relay was killed.
func Read(in io.Reader) (*Trace, error) {
	r, t := bufio.NewReader(in), &Trace{}
	for {
		kind, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		values, err := readValues(r)
		if err != nil {
			return nil, fmt.Errorf("trace: a record of kind %d: %w", kind, err)
		}
		if t.add(kind, &values); values.short {
			return nil, fmt.Errorf("trace: a record of kind %d is unknown or too short", kind)
		}
	}
}

func (t *Trace) add(kind byte, v *values) {
	switch kind {
	case kindSession:
		t.Sessions++
	case kindTransaction:
		t.Transactions = append(t.Transactions, Transaction{Tx: uint64(v.next()), LSN: uint64(v.next()), Committed: v.time(), Sent: v.time(), Decoded: v.time()})
	case kindPass:
		t.Passes = append(t.Passes, Pass{First: uint64(v.next()), Last: uint64(v.next()), Events: int(v.next()), Reads: int(v.next()), Bytes: int(v.next()),
			Began: v.time(), Read: v.time(), HandedOver: v.time(), MarkAtBegin: v.next() != 0, MarkAtReturn: v.next() != 0, Flowing: v.next() != 0})
	case kindRequest:
		q := Request{Woken: v.time(), Sent: v.time(), Written: v.time(), Answered: v.time(), Settled: v.time(), UnderWay: int(v.next()), Failed: v.next() != 0}
		for len(v.left) > 0 {
			p := Part{Queue: Queue{At: v.time(), Linger: time.Duration(v.next()), UnderWay: int(v.next()), Behind: v.next() != 0}, Sealed: v.time()}
			for n := v.next(); n > 0 && !v.short; n-- {
				p.Txs = append(p.Txs, uint64(v.next()))
			}
			q.Parts = append(q.Parts, p)
		}
		t.Requests = append(t.Requests, q)
	case kindLost:
		t.Lost += v.next()
	default:
		v.short = true
	}
}

// values are the values of one record.
type values struct {
	left  []int64
	short bool // next was called more often than there are values
}

func readValues(r *bufio.Reader) (v values, err error) {
	n, err := binary.ReadUvarint(r)
	for ; n > 0 && err == nil; n-- {
		var one int64
		one, err = binary.ReadVarint(r)
		v.left = append(v.left, one)
	}
	return v, err
}

func (v *values) next() int64 {
	if len(v.left) == 0 {
		v.short = true
		return 0
	}
	one := v.left[0]
	v.left = v.left[1:]
	return one
}

func (v *values) time() time.Time { return moment(v.next()) }
