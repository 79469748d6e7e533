package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/prometheus/client_golang/prometheus"

	"walpost/decoder"
	"walpost/relay/internal/dbtest"
	"walpost/relay/internal/frame"
	"walpost/relay/postgres"
	"walpost/relay/replication"
	"walpost/schema"
)

// fakeServer is a server that the test plays byte by byte, with a session that streams from it into a sink. The sink acks when the test
// says so. The server keeps the statuses of the relay, and which goroutine wrote them.
type fakeServer struct {
	t       *testing.T
	sink    *fakeSink
	session *session
	conn    net.Conn // the server's end
	cancel  context.CancelFunc
	ended   chan error

	activity atomic.Pointer[postgres.Activity] // what a check of the walsender finds; nil: the check gets no answer
	logs     *dbtest.Logs

	mu       sync.Mutex
	flushes  []pglogrepl.LSN // of the statuses, in order
	writers  map[string]bool // goroutines that wrote statuses, or the end of the stream
	leaving  chan struct{}   // closed when the relay has ended the stream
	finished chan struct{}   // closed when the server has, too
}

// startSession starts a session. adapted may change it before.
func startSession(t *testing.T, adapted ...func(*session)) *fakeServer {
	client, peer := net.Pipe()
	server := &fakeServer{t: t, logs: dbtest.NewLogs(t), sink: newFakeSink(false), conn: peer, ended: make(chan error, 1), writers: map[string]bool{},
		leaving: make(chan struct{}), finished: make(chan struct{})}
	r, err := New(Config{
		Config: postgres.Config{Slot: "walpost", Publication: "walpost", Table: schema.DefaultTable, Mapping: schema.DefaultMapping(),
			Logger: server.logs.Logger()},
		ShutdownTimeout: time.Minute, OpenSink: server.sink.open, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.load = func(context.Context, string, schema.Position) error { return nil } // this server has no tables
	if err := r.openSink(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &session{
		relay: r, tracker: r.tracker, sink: r.sink, stream: replication.NewStream(watchedConn{client, server}, nil), history: replication.History{Current: 1},
		decoder: decoder.New(schema.DefaultTable, schema.DefaultMapping()),
		recorder: postgres.NewRecorder("walpost", func(context.Context) (*postgres.DB, error) {
			return nil, errors.New("this server takes no other connection")
		}),
	}
	s.confirmer = replication.NewConfirmer(s.stream, s.position, r.tracker.Progress, (&replication.Server{}).StatusPeriod(postgres.DefaultSilence), s.noteConfirmed)
	s.silence = replication.Silence{Limit: postgres.DefaultSilence, Kept: s.noteKept, Activity: func(ctx context.Context) (postgres.Activity, error) {
		if a := server.activity.Load(); a != nil {
			return *a, nil
		}
		<-ctx.Done()
		return postgres.Activity{}, ctx.Err()
	}}
	for _, adapt := range adapted {
		adapt(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server.session, server.cancel = s, cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.ended <- s.run(ctx)
	}()
	go server.listen()
	t.Cleanup(func() { cancel(); peer.Close(); <-done })
	return server
}

// watchedConn notes who writes to the server.
type watchedConn struct {
	net.Conn
	server *fakeServer
}

func (c watchedConn) Write(p []byte) (int, error) {
	if p[0] == 'd' || p[0] == 'c' {
		stack := make([]byte, 64)
		id, _, _ := strings.Cut(string(stack[:runtime.Stack(stack, false)]), " [")
		c.server.mu.Lock()
		c.server.writers[id] = true
		c.server.mu.Unlock()
	}
	return c.Conn.Write(p)
}

// listen reads the relay's messages, and ends the stream when the relay has ended it.
func (s *fakeServer) listen() {
	head := make([]byte, 5)
	for {
		if _, err := io.ReadFull(s.conn, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(s.conn, body); err != nil {
			return
		}
		switch head[0] {
		case 'd':
			s.mu.Lock()
			s.flushes = append(s.flushes, pglogrepl.LSN(binary.BigEndian.Uint64(body[9:])))
			s.mu.Unlock()
		case 'c':
			close(s.leaving)
			go func() {
				<-s.finished
				s.conn.Write(frame.Message('C', []byte("COPY 0\x00")))
			}()
		case 'X':
			return
		}
	}
}

// send writes messages to the relay, which reads them at once and together.
func (s *fakeServer) send(frames ...[]byte) {
	s.t.Helper()
	s.conn.SetWriteDeadline(time.Now().Add(dbtest.Patience))
	if _, err := s.conn.Write(slices.Concat(frames...)); err != nil {
		s.t.Fatalf("the relay does not read: %v", err)
	}
}

// ask sends a keepalive that asks for a status, with the position walEnd, and waits for the status.
func (s *fakeServer) ask(walEnd uint64) {
	s.t.Helper()
	before := len(s.told())
	s.send(frame.Keepalive(walEnd, 1))
	dbtest.Until(s.t, "the relay answers", func() bool { return len(s.told()) > before })
}

// told returns the confirmed positions, in order.
func (s *fakeServer) told() []pglogrepl.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.flushes)
}

// last returns the last confirmed position.
func (s *fakeServer) last() pglogrepl.LSN {
	if all := s.told(); len(all) > 0 {
		return all[len(all)-1]
	}
	return 0
}

// wantTold checks that exactly these positions were confirmed.
func (s *fakeServer) wantTold(positions ...pglogrepl.LSN) {
	s.t.Helper()
	got := slices.Compact(s.told())
	if !slices.Equal(got, positions) {
		s.t.Fatalf("the server was told %v, want %v", got, positions)
	}
}

// wait returns the error with which the session ended.
func (s *fakeServer) wait(limit time.Duration) error {
	s.t.Helper()
	select {
	case <-s.finished:
	default:
		close(s.finished)
	}
	select {
	case err := <-s.ended:
		return err
	case <-time.After(limit):
		s.t.Fatalf("the session does not end within %v", limit)
		return nil
	}
}

// flow sends transactions without a pause until the relay stops.
func (s *fakeServer) flow() {
	transaction := slices.Concat(beginFrame(0x1000), insertFrame("{}"), insertFrame("{}"), commitFrame(0x1000, 0x1030))
	stream := slices.Concat(slices.Repeat([][]byte{transaction}, 100)...)
	s.conn.SetWriteDeadline(time.Time{})
	go func() {
		defer close(s.finished)
		cut := 1 // reads end at any byte, so that a stop can also come inside a transaction
		for {
			select {
			case <-s.leaving:
				s.conn.Write(stream)
				return
			default:
			}
			for _, part := range [][]byte{stream[:cut], stream[cut:]} {
				if _, err := s.conn.Write(part); err != nil {
					return
				}
			}
			cut = (cut + 997) % len(stream)
		}
	}()
}

// mustLeave checks that the session ends soon, and between transactions. The relay would wait up to a minute for acks, but none are
// missing.
func (s *fakeServer) mustLeave() {
	s.t.Helper()
	select {
	case err := <-s.ended:
		if err != replication.ErrLeave {
			s.t.Errorf("ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		s.t.Fatal("the relay does not stop while data flows")
	}
	if n := s.sink.count(); n%2 != 0 {
		s.t.Errorf("it stopped inside a transaction, after %d events", n)
	}
}
