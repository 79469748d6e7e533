// Package latencytrace records when events pass the stages of the relay, so that a benchmark can tell how much time each stage takes. It is
// for package bench and off in normal use. Then the [Recorder] is nil, and its users check that once per transaction, pass, batch or
// request, never per event.
//
// The relay and the sink write to the same recorder, but do not know each other: both name transactions by the same numbers. A recorder
// appends to a small buffer under a lock. A separate goroutine writes full buffers to the file, so a slow disk delays neither relay nor
// sink. If too many buffers wait, the recorder drops records and counts them.
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

// Variable is the environment variable that names the file for the relay's trace. The configuration ignores variables that begin with
// WALPOST_TEST_.
const Variable = "WALPOST_TEST_TRACE"

const (
	bufferSize = 64 << 10
	buffers    = 16 // at most so many wait for the disk
)

// Recorder writes a trace. Its methods may be called from any goroutine.
type Recorder struct {
	out   io.WriteCloser
	full  chan []byte // buffers to be written
	empty chan []byte // buffers to be used again
	ended chan error  // receives the error of writing

	mu     sync.Mutex
	buf    []byte // the buffer in use; nil: all buffers wait for the disk
	lost   int64  // records that found no buffer
	closed bool
}

// FromEnvironment returns a recorder that writes to the file that [Variable] names. It returns nil and no error if the variable is not set.
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

// New returns a recorder that writes to out. Its Close closes out.
func New(out io.WriteCloser) *Recorder {
	r := &Recorder{out: out, full: make(chan []byte, buffers), empty: make(chan []byte, buffers+1), ended: make(chan error, 1)}
	for range buffers {
		r.empty <- make([]byte, 0, bufferSize)
	}
	r.buf = <-r.empty
	go r.write()
	return r
}

// write writes full buffers to out until there are no more.
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

// Close writes the last buffer and closes the file. Later records are dropped. On a nil recorder, Close does nothing.
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
		r.append(kindLost, r.lost) // if r.buf is nil, append makes another buffer
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
		r.full <- r.buf // never blocks: the channel has room for all buffers
		r.buf = nil
	}
}

// append encodes a record: its kind, the number of its values, and the values. The caller holds r.mu.
func (r *Recorder) append(kind byte, values ...int64) {
	r.buf = append(r.buf, kind)
	r.buf = binary.AppendUvarint(r.buf, uint64(len(values)))
	for _, v := range values {
		r.buf = binary.AppendVarint(r.buf, v)
	}
}

// nanoseconds returns t as it is in the file; 0 stands for the zero time.
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
