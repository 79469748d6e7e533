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

// wire is a session with a server that the test plays, byte by byte, and with a sink that acks when it is told to. What the relay tells
// the server is kept, and which goroutine wrote it.
type wire struct {
	t       *testing.T
	sink    *told
	session *session
	server  net.Conn
	cancel  context.CancelFunc
	ended   chan error

	mu       sync.Mutex
	flushes  []pglogrepl.LSN // of the statuses, in order
	writers  map[string]bool // goroutines that wrote statuses, or the end of the stream
	leaving  chan struct{}   // closed when the relay has ended the stream
	finished chan struct{}   // closed when the server has, too
}

// openWire starts a session.
func openWire(t *testing.T) *wire {
	client, peer := net.Pipe()
	w := &wire{t: t, sink: newTold(false), server: peer, ended: make(chan error, 1), writers: map[string]bool{},
		leaving: make(chan struct{}), finished: make(chan struct{})}
	r, err := New(Config{
		Config: postgres.Config{Slot: "walpost", Publication: "walpost", Table: schema.DefaultTable, Mapping: schema.DefaultMapping(),
			Logger: dbtest.NewLogs(t).Logger()},
		ShutdownTimeout: time.Minute, OpenSink: w.sink.open, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.openSink(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &session{
		relay: r, tracker: r.tracker, sink: r.sink, stream: replication.NewStream(watchedConn{client, w}, nil), history: replication.History{Current: 1},
		decoder: decoder.New(schema.DefaultTable, schema.DefaultMapping()),
		recorder: postgres.NewRecorder("walpost", func(context.Context) (*postgres.DB, error) {
			return nil, errors.New("this server takes no other connection")
		}),
	}
	s.confirmer = replication.NewConfirmer(s.stream, s.position, r.tracker.Progress, (&replication.Server{}).StatusPeriod(), s.noteConfirmed)
	ctx, cancel := context.WithCancel(context.Background())
	w.session, w.cancel = s, cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.ended <- s.run(ctx)
	}()
	go w.listen()
	t.Cleanup(func() { cancel(); peer.Close(); <-done })
	return w
}

// watchedConn notes who writes to the server.
type watchedConn struct {
	net.Conn
	wire *wire
}

func (c watchedConn) Write(p []byte) (int, error) {
	if p[0] == 'd' || p[0] == 'c' {
		stack := make([]byte, 64)
		id, _, _ := strings.Cut(string(stack[:runtime.Stack(stack, false)]), " [")
		c.wire.mu.Lock()
		c.wire.writers[id] = true
		c.wire.mu.Unlock()
	}
	return c.Conn.Write(p)
}

// listen takes what the relay says, and ends the stream when the relay has.
func (w *wire) listen() {
	head := make([]byte, 5)
	for {
		if _, err := io.ReadFull(w.server, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(w.server, body); err != nil {
			return
		}
		switch head[0] {
		case 'd':
			w.mu.Lock()
			w.flushes = append(w.flushes, pglogrepl.LSN(binary.BigEndian.Uint64(body[9:])))
			w.mu.Unlock()
		case 'c':
			close(w.leaving)
			go func() {
				<-w.finished
				w.server.Write(frame.Message('C', []byte("COPY 0\x00")))
			}()
		case 'X':
			return
		}
	}
}

// send writes messages to the relay, which reads them at once and together.
func (w *wire) send(frames ...[]byte) {
	w.t.Helper()
	w.server.SetWriteDeadline(time.Now().Add(dbtest.Patience))
	if _, err := w.server.Write(slices.Concat(frames...)); err != nil {
		w.t.Fatalf("the relay does not read: %v", err)
	}
}

// ask lets the server ask for a status, being at walEnd, and waits for it.
func (w *wire) ask(walEnd uint64) {
	w.t.Helper()
	before := len(w.told())
	w.send(frame.Keepalive(walEnd, 1))
	dbtest.Until(w.t, "the relay answers", func() bool { return len(w.told()) > before })
}

// told returns the positions that the server was told, in order.
func (w *wire) told() []pglogrepl.LSN {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.flushes)
}

// last is the position that the server was told last.
func (w *wire) last() pglogrepl.LSN {
	if all := w.told(); len(all) > 0 {
		return all[len(all)-1]
	}
	return 0
}

// wantTold checks that the server was told these positions and no other.
func (w *wire) wantTold(positions ...pglogrepl.LSN) {
	w.t.Helper()
	got := slices.Compact(w.told())
	if !slices.Equal(got, positions) {
		w.t.Fatalf("the server was told %v, want %v", got, positions)
	}
}

// wait returns what the session ended with.
func (w *wire) wait(limit time.Duration) error {
	w.t.Helper()
	select {
	case <-w.finished:
	default:
		close(w.finished)
	}
	select {
	case err := <-w.ended:
		return err
	case <-time.After(limit):
		w.t.Fatalf("the session does not end within %v", limit)
		return nil
	}
}

// The messages of a stream of the default outbox.

const wireOutbox = 16400

var wireColumns = []struct {
	name string
	oid  uint32
}{{"id", 2950}, {"aggregatetype", 25}, {"aggregateid", 25}, {"type", 25}, {"payload", 3802}, {"headers", 3802}, {"created_at", 1184}}

func relationFrame() []byte {
	be := binary.BigEndian
	b := be.AppendUint32([]byte{'R'}, wireOutbox)
	b = append(b, "walpost\x00outbox\x00d"...)
	b = be.AppendUint16(b, uint16(len(wireColumns)))
	for _, c := range wireColumns {
		b = append(append(append(b, 0), c.name...), 0)
		b = be.AppendUint32(be.AppendUint32(b, c.oid), 0xFFFFFFFF)
	}
	return frame.WAL(b)
}

func insertMessage(payload string) []byte {
	be := binary.BigEndian
	b := be.AppendUint32([]byte{'I'}, wireOutbox)
	b = be.AppendUint16(append(b, 'N'), uint16(len(wireColumns)))
	for _, v := range []string{"0189f7f0-1f2c-7c3e-8e5c-000000000001", "order", "12345", "placed", payload, "", "2026-11-21 03:40:25.409899+00"} {
		if v == "" {
			b = append(b, 'n')
			continue
		}
		b = append(be.AppendUint32(append(b, 't'), uint32(len(v))), v...)
	}
	return b
}

func insertFrame(payload string) []byte { return frame.WAL(insertMessage(payload)) }

func beginFrame(lsn uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'B'}, lsn)
	return frame.WAL(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, 0), uint32(lsn)))
}

func commitFrame(lsn, end uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'C', 0}, lsn)
	return frame.WAL(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, end), 0))
}

// flow lets the server send transactions without a pause until the relay leaves.
func (w *wire) flow() {
	transaction := slices.Concat(beginFrame(0x1000), insertFrame("{}"), insertFrame("{}"), commitFrame(0x1000, 0x1030))
	stream := slices.Concat(slices.Repeat([][]byte{transaction}, 100)...)
	w.server.SetWriteDeadline(time.Time{})
	go func() {
		defer close(w.finished)
		cut := 1 // reads end anywhere, so that a stop comes inside a transaction too
		for {
			select {
			case <-w.leaving:
				w.server.Write(stream)
				return
			default:
			}
			for _, part := range [][]byte{stream[:cut], stream[cut:]} {
				if _, err := w.server.Write(part); err != nil {
					return
				}
			}
			cut = (cut + 997) % len(stream)
		}
	}()
}

// mustLeave checks that the session ends soon and between transactions. It waits for acks for a minute at most, but there are none to
// wait for.
func (w *wire) mustLeave() {
	w.t.Helper()
	select {
	case err := <-w.ended:
		if err != replication.ErrLeave {
			w.t.Errorf("ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		w.t.Fatal("the relay does not leave while data flows")
	}
	if n := w.sink.count(); n%2 != 0 {
		w.t.Errorf("it left inside a transaction, after %d events", n)
	}
}
