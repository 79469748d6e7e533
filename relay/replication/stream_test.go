package replication

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/relay/internal/frame"
)

// The server's side of the protocol, as bytes.

func errorFrame(typ byte, code, text string) []byte {
	return frame.Message(typ, fmt.Appendf(nil, "SERROR\x00VERROR\x00C%s\x00M%s\x00\x00", code, text))
}

// chunks is a connection that returns its bytes in reads of at most n bytes.
type chunks struct {
	net.Conn
	rest []byte
	n    int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.n)], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *chunks) SetReadDeadline(time.Time) error { return nil }

// SentAt reads the header of the current message, also if the message came in pieces and moved to the front of the buffer.
func TestSentAt(t *testing.T) {
	var stream []byte
	begin := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	const messages = 50
	for i := range messages {
		m := frame.WAL(bytes.Repeat([]byte{'x'}, i))
		sent := begin.Add(time.Duration(i) * time.Microsecond).Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds()
		binary.BigEndian.PutUint64(m[5+1+8+8:], uint64(sent))
		stream = append(stream, m...)
	}
	s := NewStream(&chunks{rest: stream, n: 101}, nil)
	for i := 0; i < messages; {
		m, err := s.Next()
		if err == nil && m.Kind == Incomplete {
			err = s.Fill()
		} else if err == nil {
			if got, want := s.SentAt(m.Data), begin.Add(time.Duration(i)*time.Microsecond); !got.Equal(want) {
				t.Fatalf("message %d was sent at %v, want %v", i, got.UTC(), want)
			}
			i++
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// describe reads a stream to its end and describes the messages.
func describe(s *Stream) (got []string) {
	for {
		m, err := s.Next()
		if err == nil && m.Kind == Incomplete {
			err = s.Fill()
		}
		switch {
		case err != nil:
			return append(got, err.Error())
		case m.Kind == Started:
			got = append(got, "started")
		case m.Kind == XLogData:
			got = append(got, "wal "+string(m.Data))
		case m.Kind == Keepalive:
			got = append(got, fmt.Sprintf("keepalive %v %v", m.WALEnd, m.Reply))
		case m.Kind == Ended:
			return append(got, "ended")
		}
	}
}

func TestStreamFrames(t *testing.T) {
	in := slices.Concat(
		frame.Message('W', []byte{0, 0, 0}), frame.Message('S', []byte("a\x00b\x00")),
		frame.WAL([]byte("one")), frame.Keepalive(0x30, 0), frame.WAL(nil), errorFrame('N', "01000", "note"), frame.WAL([]byte("two")),
		frame.Keepalive(0x1_00000040, 1), frame.Message('c', nil), frame.Message('C', []byte("COPY 0\x00")))
	want := []string{"started", "wal one", "keepalive 0/30 false", "wal ", "note", "wal two", "keepalive 1/40 true", "ended"}
	for n := 1; n <= len(in); n++ {
		s := NewStream(&chunks{rest: in, n: n}, nil)
		var notes []string
		s.notice = func(n *pgconn.Notice) error { notes = append(notes, n.Message); return nil }
		got := describe(s)
		if want := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s == "note" }); !slices.Equal(got, want) {
			t.Fatalf("reads of %d bytes: %q, want %q", n, got, want)
		}
		if !slices.Equal(notes, []string{"note"}) {
			t.Fatalf("reads of %d bytes: notices %q", n, notes)
		}
	}
}

func TestStreamErrors(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		want string
	}{
		"the server's error":  {errorFrame('E', "55006", "slot is active"), "SQLSTATE 55006"},
		"closed":              {nil, errClosed.Error()},
		"closed in a message": {frame.WAL([]byte("one"))[:20], errClosed.Error()},
		"unknown message":     {frame.Message('?', nil), "not the replication protocol"},
		"length too short":    {[]byte{'d', 0, 0, 0, 3, 0}, "not the replication protocol"},
		"length too long":     {[]byte{'d', 0x7f, 0, 0, 0, 0}, "not the replication protocol"},
		"unknown copy data":   {frame.Message('d', []byte("x")), "not the replication protocol"},
		"empty copy data":     {frame.Message('d', nil), "not the replication protocol"},
		"short WAL head":      {frame.Message('d', append([]byte{'w'}, make([]byte, 23)...)), "not the replication protocol"},
		"short keepalive":     {frame.Message('d', append([]byte{'k'}, make([]byte, 16)...)), "not the replication protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			got := describe(NewStream(&chunks{rest: c.in, n: 7}, nil))
			if len(got) != 1 || !strings.Contains(got[0], c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestBufferGrowsWithWhatCameOnly: for a larger message the buffer grows with the bytes that have arrived, and shrinks afterwards.
func TestBufferGrowsWithWhatCameOnly(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 3*readBuffer)
	in := slices.Concat(frame.WAL([]byte("before")), frame.WAL(big), frame.WAL([]byte("after")), frame.WAL([]byte("last")))
	s := NewStream(&chunks{rest: in, n: readBuffer / 3}, nil)
	largest := 0
	var got []int
	for range 4 {
		m, err := s.Next()
		for ; err == nil && m.Kind == Incomplete; m, err = s.Next() {
			if err := s.Fill(); err != nil {
				t.Fatal(err)
			}
			if largest = max(largest, len(s.buf)); len(s.buf) > 2*max(s.w, readBuffer) {
				t.Fatalf("buffer of %d bytes for %d", len(s.buf), s.w)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, len(m.Data))
	}
	if !slices.Equal(got, []int{6, len(big), 5, 4}) {
		t.Errorf("messages of %v bytes", got)
	}
	if largest < len(big) || largest > len(big)+readBuffer {
		t.Errorf("the buffer grew to %d bytes for a message of %d", largest, len(big))
	}
	if err := s.Fill(); !errors.Is(err, errClosed) || len(s.buf) != readBuffer {
		t.Errorf("the buffer stayed at %d bytes (%v)", len(s.buf), err)
	}
}

// pipe returns a stream over a connection that obeys deadlines in a synctest bubble, and records its low-water marks.
func pipe(t *testing.T) (s *Stream, server net.Conn, marks *[]int) {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	s, marks = NewStream(client, nil), new([]int)
	s.mark = func(n int) error { *marks = append(*marks, n); return nil }
	return s, server, marks
}

func TestStreamInterrupt(t *testing.T) {
	cause := errors.New("leave")
	for _, surging := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, server, _ := pipe(t)
			s.surge.on = surging
			interrupted := make(chan struct{})
			go func() {
				defer close(interrupted)
				time.Sleep(time.Hour)
				s.Interrupt(cause)
				s.Interrupt(errors.New("a later cause"))
			}()
			start := time.Now()
			if err := s.Fill(); err != cause || time.Since(start) != time.Hour {
				t.Errorf("surging %v: %v after %v", surging, err, time.Since(start))
			}
			<-interrupted // by both: otherwise the later one would interrupt the reader that is resumed below
			if err := s.Fill(); err != cause {
				t.Errorf("surging %v: reading went on after an interruption: %v", surging, err)
			}
			<-s.Woken

			// The reader reads the rest, until a deadline.
			go server.Write(slices.Concat(frame.WAL([]byte("rest")), frame.Message('C', []byte("COPY 0\x00"))))
			if err := s.Drain(time.Now().Add(time.Second)); err != nil {
				t.Errorf("drain: %v", err)
			}
			start = time.Now()
			if err := s.Drain(start.Add(time.Second)); err != ErrTooLate || time.Since(start) != time.Second {
				t.Errorf("drain: %v after %v", err, time.Since(start))
			}
		})
	}
}

// TestStreamInterruptAnyMoment interrupts a reader on a real socket, inside and outside of surges: it stops at any moment.
func TestStreamInterruptAnyMoment(t *testing.T) {
	for i := range 50 {
		client, server := loopback(t)
		s := NewStream(client, nil)
		go func() {
			for {
				if _, err := server.Write(frame.WAL([]byte("x"))); err != nil {
					return
				}
			}
		}()
		cause := errors.New("leave")
		time.AfterFunc(time.Duration(i)*200*time.Microsecond, func() { s.Interrupt(cause) })
		for {
			m, err := s.Next()
			if err == nil && m.Kind == Incomplete {
				err = s.Fill()
			}
			if err != nil {
				if err != cause {
					t.Fatal(err)
				}
				break
			}
		}
		client.Close()
		server.Close()
	}
}

func loopback(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- c
	}()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if server = <-accepted; server == nil {
		t.Fatal("accept failed")
	}
	return client, server
}
