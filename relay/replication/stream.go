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

// Why a reader stops although the stream is not broken.
var (
	ErrLeave    = errors.New("walpost is stopping")
	ErrEnded    = errors.New("the server ended the stream")
	ErrStopping = reason.With(reason.PostgresNotReady, errors.New("the server is shutting down"))
)

// DrainLimit bounds the end of a session: the record of a clean stop, and reading until the server has ended the stream, too.
const DrainLimit = 3 * time.Second

// readBuffer is the size of a stream's buffer. The buffer is larger only while it holds a larger message.
const readBuffer = 2 << 20

// Stream splits the bytes of a replication connection into messages. Only it reads that connection. Its user calls Next until that returns
// Incomplete, then Fill, and so on. It does not use pgconn's reader, for two reasons: that copies through a buffer of 8 KiB, and it turns
// the deadline of a context into a deadline for writes too, which can cut off a concurrent status.
//
// One goroutine, the reader, calls Next, SentAt, Fill, Flowing, MarkRaised, Buffered, Resume, Drain and Terminate. While it waits for
// something else, it receives from Woken and calls Interrupted. Any goroutine may call Interrupt and Close.
type Stream struct {
	conn   net.Conn
	notice func(*pgconn.Notice) error // called by Next, which returns its error
	mark   func(bytes int) error      // sets the low-water mark; nil: the socket has none
	surge  surge
	buf    []byte
	r, w   int // buf[r:w] was read and not yet consumed

	Woken chan struct{} // has a token after an interruption: for a reader that does not wait for the server

	mu    sync.Mutex // guards cause, limit and the read deadline, so that a surge never undoes an interruption
	cause error      // why the reader has to stop
	limit time.Time  // the reader's own deadline; zero: none
}

// NewStream returns a stream over a connection, on which the server is asked to stream. Next calls notice for each notice.
func NewStream(conn net.Conn, notice func(*pgconn.Notice) error) *Stream {
	return &Stream{conn: conn, notice: notice, mark: lowWater(conn), buf: make([]byte, readBuffer), Woken: make(chan struct{}, 1)}
}

// Fill makes room in the buffer and does one read. Slices that Next returned before are no longer valid. After an interruption it returns
// the cause.
func (s *Stream) Fill() error {
	s.makeRoom()
	for {
		if err := s.arm(); err != nil {
			return err
		}
		n, err := s.conn.Read(s.buf[s.w:])
		switch {
		case n > 0: // an error that came with the bytes comes again
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

// errClosed means that the server closed the connection without ending the stream.
var errClosed = errors.New("the server closed the replication connection")

// makeRoom moves the rest, which is less than one message, to the front of the buffer, and adapts the size of the buffer. The buffer grows
// with the bytes that have arrived, and not with the length that a message claims.
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

// arm returns the cause of an interruption. During a surge it sets the deadline for the next read: with the low-water mark but without a
// deadline, a read would wait for ever if fewer bytes than the mark are left.
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

// count counts a read, and begins a surge if reads follow each other fast enough.
func (s *Stream) count() {
	if s.mark == nil || !s.surge.read() {
		return
	}
	if err := s.mark(surgeMark); err != nil {
		s.mark = nil // without the mark reads are slower, but correct
		s.surge.end()
	}
}

// timedOut handles the timeout of a read: the end of a surge, an interruption (whose cause arm returns next), or the reader's own limit. At
// the end of a surge it lowers the mark before it changes the deadline, so that no read has the mark without a deadline.
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

// ErrTooLate means that the deadline of [Stream.Resume] passed while the reader was still reading.
var ErrTooLate = errors.New("the time to stop reading has passed")

// Close closes the connection.
func (s *Stream) Close() error { return s.conn.Close() }

// Flowing reports whether more data is likely to arrive within milliseconds.
func (s *Stream) Flowing() bool { return s.surge.flowing() }

// Buffered returns how many bytes have been read and not yet been returned by Next.
func (s *Stream) Buffered() int { return s.w - s.r }

// MarkRaised reports whether the low-water mark is raised, so that the next read waits for more than the first byte.
func (s *Stream) MarkRaised() bool { return s.surge.on }

// Interrupt stops the reader with cause, at once if it waits for the server or for Woken. A later call does not replace the cause.
func (s *Stream) Interrupt(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return
	}
	s.cause = cause
	s.conn.SetReadDeadline(time.Unix(1, 0)) // it fails only on a closed connection, whose reader stops anyway
	wake.Signal(s.Woken)
}

// Interrupted returns the cause of an interruption, nil if there was none.
func (s *Stream) Interrupted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// setLimit sets the time at which the reader stops by itself; zero: never. It does not lift an interruption.
func (s *Stream) setLimit(by time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = by
	if s.cause != nil {
		return s.cause
	}
	return s.conn.SetReadDeadline(by)
}

// Limited reports whether the reader has a deadline.
func (s *Stream) Limited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.limit.IsZero()
}

// Resume lets an interrupted reader go on, until by; zero: without a deadline.
func (s *Stream) Resume(by time.Time) error {
	s.mu.Lock()
	s.cause = nil
	s.mu.Unlock()
	return s.setLimit(by)
}

// Drain reads and discards messages until the server ends the stream, or until by.
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

// Terminate ends the connection properly, after CopyDone was sent. It gives up at by. It ignores errors, because the session is over.
func (s *Stream) Terminate(by time.Time) {
	s.Drain(by)                                  // if a socket is closed with unread bytes, the last status may be lost
	s.send([]byte{'X', 0, 0, 0, 4}, time.Second) // Terminate, so that the server logs no broken connection
}

// send writes p within limit. A connection that does not accept a few bytes in that time is dead.
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
