package relay

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"walpost/decoder"
	"walpost/internal/latencytrace"
	"walpost/relay/inflight"
	"walpost/relay/postgres"
	"walpost/relay/replication"
	"walpost/schema"
)

// endlessConn is a connection that never ends: after the end of data it goes on with data[again:], over and over. A read returns at most
// what the read buffer holds.
type endlessConn struct {
	net.Conn
	data  []byte
	again int
	at    int
}

func (l *endlessConn) Read(p []byte) (int, error) {
	n := copy(p, l.data[l.at:])
	if l.at += n; l.at == len(l.data) {
		l.at = l.again
	}
	return n, nil
}

func (l *endlessConn) SetReadDeadline(time.Time) error { return nil }

// immediateSink acks everything at Flush, and ends the session after a number of events.
type immediateSink struct {
	acks   Acks
	runs   []schema.Run
	bytes  int
	events int
	limit  int
	stop   func()
}

func (s *immediateSink) Publish(ev *schema.Event, tx uint64) (int, error) {
	if k := len(s.runs) - 1; k >= 0 && s.runs[k].Tx == tx {
		s.runs[k].Rows++
	} else {
		s.runs = append(s.runs, schema.Run{Tx: tx, Rows: 1})
	}
	n := len(ev.Values[schema.Payload])
	s.bytes += n
	s.events++
	return n, nil
}

func (s *immediateSink) Flush(bool) {
	s.acks.Acked(s.runs, s.bytes)
	s.runs, s.bytes = s.runs[:0], 0
	if s.events >= s.limit {
		s.stop()
	}
}

func (s *immediateSink) Close() error { return nil }

// streamOf returns a stream of transactions of the default outbox, with the table's relation at the beginning.
func streamOf(transactions, rows int) *endlessConn {
	out := relationFrame()
	announced := len(out)
	insert := insertFrame(`{"payload": "` + strings.Repeat("x", 280) + `"}`)
	for i := range transactions {
		lsn := uint64(0x1000 * (i + 1))
		out = append(out, beginFrame(lsn)...)
		for range rows {
			out = append(out, insert...)
		}
		out = append(out, commitFrame(lsn, lsn+0x30)...)
	}
	return &endlessConn{data: out, again: announced}
}

// benchSession reads n events from a stream through window and budget into a sink that acks at once.
func benchSession(tb testing.TB, conn *endlessConn, n int) { traceSession(tb, conn, n, nil) }

// traceSession does the same, with a trace.
func traceSession(tb testing.TB, conn *endlessConn, n int, trace *latencytrace.Recorder) {
	conn.at = 0
	budget := inflight.NewBudget(32 << 20)
	f := inflight.NewTracker(budget)
	m, err := newMetrics(prometheus.NewRegistry(), f, budget)
	if err != nil {
		tb.Fatal(err)
	}
	s := &session{
		relay:   &Relay{metrics: m, cfg: Config{Config: postgres.Config{Table: schema.DefaultTable}}},
		tracker: f,
		stream:  replication.NewStream(conn, nil),
		decoder: decoder.New(schema.DefaultTable, schema.DefaultMapping()),
		history: replication.History{Current: 1},
		trace:   newPassTrace(trace),
	}
	s.confirmer = replication.NewConfirmer(s.stream, s.position, f.Progress, (&replication.Server{}).StatusPeriod(postgres.DefaultSilence), s.noteConfirmed)
	s.sink = &immediateSink{acks: f, limit: n, stop: func() { s.stream.Interrupt(replication.ErrLeave) }}
	if err := s.read(); !errors.Is(err, replication.ErrLeave) && !errors.Is(err, replication.ErrTooLate) {
		tb.Fatal(err)
	}
}

// BenchmarkRead measures the relay's own cost per event: from the read buffer to the ack, with decoding, without socket and sink.
//
//	go test ./relay -run '^$' -bench Read -count 10 | benchstat -
func BenchmarkRead(b *testing.B) {
	for _, rows := range []int{1, 100} {
		b.Run(strconv.Itoa(rows)+" rows", func(b *testing.B) {
			data := streamOf(20_000/rows, rows)
			b.ReportAllocs()
			b.ResetTimer()
			benchSession(b, data, b.N)
		})
	}
}
