package replication

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/internal/reason"
	"walpost/relay/internal/wake"
)

// Why a reader stops, of a stream that is not broken.
var (
	ErrLeave    = errors.New("walpost is leaving")
	ErrEnded    = errors.New("the server ended the stream")
	ErrStopping = reason.With(reason.PostgresNotReady, errors.New("the server is shutting down"))
)

// DrainLimit bounds how long a stream that this side has ended is read until the server ends it, too, and what is recorded of the end.
const DrainLimit = 3 * time.Second

// readBuffer is the size of a stream's buffer. Larger messages let it grow for as long as they are there.
const readBuffer = 2 << 20

// Stream frames what a replication connection brings, and nothing else reads that connection. The owner's loop is: Next until it says
// Incomplete, then Fill. pgconn's own reader is not used because it copies through 8 KiB and turns a context's deadline into a deadline
// for writes too, which cuts a concurrent status in half.
//
// One goroutine, the reader, calls Next, SentAt, Fill, Flowing, MarkRaised, Buffered, Resume, Drain and TakeLeave, and, while it waits for something else, receives from Woken
// and calls Interrupted. Any goroutine may call Interrupt and Close.
type Stream struct {
	conn   net.Conn
	notice func(*pgconn.Notice) error // called by Next, which returns its error
	mark   func(bytes int) error      // sets the low-water mark; nil: plain reads
	surge  surge
	buf    []byte
	r, w   int // buf[r:w] was read and not yet consumed

	Woken chan struct{} // has a token after an interruption: for a reader that waits for something else than the server

	mu    sync.Mutex // guards the read deadline, so that a surge never lifts an interruption
	cause error      // why the reader has to stop
	limit time.Time  // the reader's deadline besides, if not zero
}

// NewStream returns a stream over a connection on which the server has been asked to stream. It calls notice for each notice.
func NewStream(conn net.Conn, notice func(*pgconn.Notice) error) *Stream {
	return &Stream{conn: conn, notice: notice, mark: lowWater(conn), buf: make([]byte, readBuffer), Woken: make(chan struct{}, 1)}
}

// Fill makes room and does one read. Slices given out before are no longer valid. After an interruption it returns the cause.
func (s *Stream) Fill() error {
	s.makeRoom()
	for {
		if err := s.arm(); err != nil {
			return err
		}
		n, err := s.conn.Read(s.buf[s.w:])
		switch {
		case n > 0: // an error that came with it comes again
			s.w += n
			s.count()
			return nil
		case isTimeout(err):
			if err := s.timedOut(); err != nil {
				return err
			}
		case errors.Is(err, io.EOF):
			return errClosed
		case err != nil:
			return fmt.Errorf("read replication stream: %w", err)
		}
	}
}

// errClosed says that the connection ended without the stream having been ended.
var errClosed = errors.New("the server closed the replication connection")

// makeRoom moves what is left to the front, which is less than one message, and fits the buffer to it. The buffer grows with the bytes
// that are there and not with the length that a message claims.
func (s *Stream) makeRoom() {
	rest := s.buf[s.r:s.w]
	size := len(s.buf)
	switch need := claimed(rest); {
	case max(need, len(rest)) <= readBuffer && size > readBuffer:
		size = readBuffer
	case len(rest) == size:
		size = min(2*size, max(need, size+1))
	}
	if size != len(s.buf) {
		s.buf = make([]byte, size)
	}
	s.w = copy(s.buf, rest)
	s.r = 0
}

// arm stops an interrupted reader, and sets the deadline for the next read during a surge. A low-water mark without one would wait for
// ever for a tail below it.
func (s *Stream) arm() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return s.cause
	}
	if !s.surge.on {
		return nil
	}
	by := time.Now().Add(surgeWait)
	if !s.limit.IsZero() && s.limit.Before(by) {
		by = s.limit
	}
	return s.conn.SetReadDeadline(by)
}

// count counts a read and begins a surge when it is time.
func (s *Stream) count() {
	if s.mark == nil || !s.surge.read() {
		return
	}
	if err := s.mark(surgeMark); err != nil {
		s.mark = nil // without the option reads are plain; that is slower, not wrong
		s.surge.end()
	}
}

// timedOut judges a read's timeout: the end of a surge, an interruption (which arm tells), or the reader's own limit. A surge ends mark
// first: the deadline outlives it.
func (s *Stream) timedOut() error {
	if s.surge.on {
		s.surge.end()
		if err := s.mark(1); err != nil {
			return fmt.Errorf("lift the low-water mark: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.limit.IsZero() && !time.Now().Before(s.limit) {
		return ErrTooLate
	}
	return s.conn.SetReadDeadline(s.limit)
}

// ErrTooLate says that a reader was still reading when the time of [Stream.Resume] came.
var ErrTooLate = errors.New("the time to stop reading has passed")

// Close closes the connection.
func (s *Stream) Close() error { return s.conn.Close() }

// Flowing reports whether more will come within milliseconds, as far as anybody can tell.
func (s *Stream) Flowing() bool { return s.surge.flowing() }

// Buffered returns how many bytes have been read and not yet been returned by Next.
func (s *Stream) Buffered() int { return s.w - s.r }

// MarkRaised reports whether the next read waits for more than the first byte.
func (s *Stream) MarkRaised() bool { return s.surge.on }

// Interrupt makes the reader stop with cause, at once if it is waiting for the server or for Woken. The first cause stays.
func (s *Stream) Interrupt(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return
	}
	s.cause = cause
	s.conn.SetReadDeadline(time.Unix(1, 0)) // that fails on a closed connection only, which interrupts as well
	wake.Signal(s.Woken)
}

// Interrupted returns the cause of an interruption, nil if there was none.
func (s *Stream) Interrupted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// setLimit sets a time after which the reader stops by itself; zero: none. An interruption stays.
func (s *Stream) setLimit(by time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = by
	if s.cause != nil {
		return s.cause
	}
	return s.conn.SetReadDeadline(by)
}

// Limited reports whether the reader reads until some time only.
func (s *Stream) Limited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.limit.IsZero()
}

// Resume lets an interrupted reader read on, until by; zero: without a limit.
func (s *Stream) Resume(by time.Time) error {
	s.mu.Lock()
	s.cause = nil
	s.mu.Unlock()
	return s.setLimit(by)
}

// Drain reads and forgets until the server ends the stream, or until by.
func (s *Stream) Drain(by time.Time) error {
	if err := s.Resume(by); err != nil {
		return err
	}
	for {
		m, err := s.Next()
		if err != nil || m.Kind == Ended {
			return err
		}
		if m.Kind == Incomplete {
			if err := s.Fill(); err != nil {
				return err
			}
		}
	}
}

// TakeLeave ends the connection in good order, when the end of the stream has been asked for. It gives up at by. What comes of it does not
// matter any more.
func (s *Stream) TakeLeave(by time.Time) {
	s.Drain(by)                                  // a socket closed with unread bytes may swallow the last status
	s.send([]byte{'X', 0, 0, 0, 4}, time.Second) // Terminate: the server logs no broken connection
}

// send writes p within limit. A connection that does not take a few bytes for so long is dead.
func (s *Stream) send(p []byte, limit time.Duration) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	_, err := s.conn.Write(p)
	return err
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
