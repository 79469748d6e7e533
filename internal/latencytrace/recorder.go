// Package latencytrace records where events are on their way through the relay, so that a benchmark can tell in which stage their time
// went. It is for `bench` and off in normal use: a nil [Recorder] is passed around then, and its users check that once per transaction,
// pass, batch or request, never per event.
//
// The relay and the sink write to the same recorder without knowing each other: transactions are named by the numbers that both use. A
// recorder appends to a small buffer under a lock. A goroutine of its own writes full buffers to the file, so a slow disk delays nobody:
// records are dropped, and counted, when too many buffers wait.
//
// [Read] reads such a file. Its format is private to this package.
package latencytrace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Variable is the environment variable that names the file to which a relay writes its trace. Configuration ignores variables that begin
// with WALPOST_TEST_.
const Variable = "WALPOST_TEST_TRACE"

const (
	bufferSize = 64 << 10
	buffers    = 16 // more than these are never waiting for the disk
)

// Recorder writes a trace. Its methods may be called from any goroutine.
type Recorder struct {
	out   io.WriteCloser
	full  chan []byte // to be written
	empty chan []byte // to be used again
	ended chan error  // how writing ended

	mu     sync.Mutex
	buf    []byte // nil: all buffers wait for the disk
	lost   int64  // records that found no buffer
	closed bool
}

// FromEnvironment returns a recorder of the file that [Variable] names. It returns nil, and no error, if the variable is not set.
func FromEnvironment() (*Recorder, error) {
	name := os.Getenv(Variable)
	if name == "" {
		return nil, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Variable, err)
	}
	return New(f), nil
}

// New returns a recorder that writes to out and closes it at its end.
func New(out io.WriteCloser) *Recorder {
	r := &Recorder{out: out, full: make(chan []byte, buffers), empty: make(chan []byte, buffers+1), ended: make(chan error, 1)}
	for range buffers {
		r.empty <- make([]byte, 0, bufferSize)
	}
	r.buf = <-r.empty
	go r.write()
	return r
}

// write writes full buffers.
func (r *Recorder) write() {
	var err error
	for buf := range r.full {
		if err == nil {
			_, err = r.out.Write(buf)
		}
		r.empty <- buf[:0]
	}
	r.ended <- errors.Join(err, r.out.Close())
}

// Close writes what is left. Records that come later are dropped. A nil recorder is closed already.
func (r *Recorder) Close() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	if r.lost > 0 {
		r.append(kindLost, r.lost) // to a buffer more, if there is none
	}
	r.full <- r.buf
	r.buf = nil
	close(r.full)
	r.mu.Unlock()
	return <-r.ended
}

// log appends one record.
func (r *Recorder) log(kind byte, values ...int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buf == nil && !r.closed {
		select {
		case r.buf = <-r.empty:
		default:
		}
	}
	if r.buf == nil {
		r.lost++
		return
	}
	r.append(kind, values...)
	if len(r.buf) >= bufferSize {
		r.full <- r.buf // there is room: there are no more buffers than places
		r.buf = nil
	}
}

// append encodes a record: its kind, how many values it has, and these. r.mu is held.
func (r *Recorder) append(kind byte, values ...int64) {
	r.buf = append(r.buf, kind)
	r.buf = binary.AppendUvarint(r.buf, uint64(len(values)))
	for _, v := range values {
		r.buf = binary.AppendVarint(r.buf, v)
	}
}

// nanoseconds returns t for the file; 0 stands for the zero time.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
