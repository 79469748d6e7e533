package sink

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"github.com/IBM/sarama"

	"walpost/sink/internal/sinktest"
)

// gate is a proxy in front of a scripted broker. It forwards requests, and closes the connection on those that a test chooses.
type gate struct {
	t    testing.TB
	addr string
	work sync.WaitGroup

	mu       sync.Mutex
	own      string // the broker's address
	listener net.Listener
	conns    map[net.Conn]int    // to produce requests that were answered
	hangUp   func(produced) bool // called with mu held
	passed   []produced
	cuts     []produced // hung up on
	shared   int        // how many of them were so on a connection that had served before
}

// produced is a produce request that came through.
type produced struct {
	bytes   int
	batches []producedBatch
}

// producedBatch is a batch in a produce request.
type producedBatch struct {
	topic           string
	partition       int32
	producer        int64
	sequence, count int32
}

// newGate opens a gate in front of a broker. The broker tells clients the gate's address instead of its own.
func newGate(t testing.TB, b *scripted, topic string, partitions int32) *gate {
	g := &gate{t: t, own: b.Addr(), conns: map[net.Conn]int{}}
	g.listen("127.0.0.1:0")
	g.addr = g.listener.Addr().String()
	meta := sarama.NewMockMetadataResponse(t).SetBroker(g.addr, b.BrokerID()).SetController(b.BrokerID())
	for n := range partitions {
		meta.SetLeader(topic, n, b.BrokerID())
	}
	b.answer("MetadataRequest", meta)
	t.Cleanup(func() {
		g.close()
		g.work.Wait()
	})
	return g
}

func (g *gate) listen(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		g.t.Error(err)
		return
	}
	g.mu.Lock()
	g.listener = l
	g.mu.Unlock()
	g.work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			g.work.Go(func() { g.serve(conn) })
		}
	})
}

// close closes all connections and accepts no more.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.crash()
}

// crash is close with mu held.
func (g *gate) crash() {
	g.listener.Close()
	for conn := range g.conns {
		conn.Close()
	}
}

// leadsTo changes the address of the broker behind the gate.
func (g *gate) leadsTo(addr string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.own = addr
}

// cut ends all connections.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		conn.Close()
	}
}

// hangsUp sets which produce requests end their connection from now on; nil: none.
func (g *gate) hangsUp(on func(produced) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hangUp = on
}

// above returns a condition for hangsUp: requests of more than this many bytes.
func above(bytes int) func(produced) bool { return func(r produced) bool { return r.bytes > bytes } }

// counts returns how many requests ended their connection, and how many of those were on connections that had served other requests.
func (g *gate) counts() (cuts, shared int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.cuts), g.shared
}

// admits reports whether a produce request may pass.
func (g *gate) admits(conn net.Conn, r produced) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hangUp == nil || !g.hangUp(r) {
		return true
	}
	g.cuts = append(g.cuts, r)
	if g.conns[conn] > 0 {
		g.shared++
	}
	return false
}

func (g *gate) serve(conn net.Conn) {
	g.mu.Lock()
	g.conns[conn] = 0
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.conns, conn)
		g.mu.Unlock()
		conn.Close()
	}()
	g.mu.Lock()
	own := g.own
	g.mu.Unlock()
	broker, err := net.Dial("tcp", own)
	if err != nil {
		return
	}
	defer broker.Close()
	for {
		request, err := sinktest.Frame(conn)
		if err != nil {
			return
		}
		isProduce := binary.BigEndian.Uint16(request[4:]) == 0
		var r produced
		if isProduce {
			if r = readProduced(request); !g.admits(conn, r) {
				return
			}
		}
		if _, err = broker.Write(request); err != nil {
			return
		}
		answer, err := sinktest.Frame(broker)
		if err != nil {
			return
		}
		if isProduce {
			g.mu.Lock()
			g.conns[conn]++
			g.passed = append(g.passed, r)
			g.mu.Unlock()
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// readProduced parses a request of the usual version.
func readProduced(b []byte) produced {
	be, r := binary.BigEndian, produced{bytes: len(b)}
	b = b[14+int(be.Uint16(b[12:]))+2+2+4:]
	topics := be.Uint32(b)
	for b = b[4:]; topics > 0; topics-- {
		n := 2 + int(be.Uint16(b))
		name, partitions := string(b[2:n]), be.Uint32(b[n:])
		for b = b[n+4:]; partitions > 0; partitions-- {
			batch := b[8 : 8+be.Uint32(b[4:])]
			r.batches = append(r.batches, producedBatch{name, int32(be.Uint32(b)), int64(be.Uint64(batch[43:])), int32(be.Uint32(batch[53:])), int32(be.Uint32(batch[57:]))})
			b = b[8+len(batch):]
		}
	}
	return r
}

// checkSequences ends the test unless the requests that passed have each sequence of each producer in each partition, in order. A batch
// that passed and was not acknowledged must come again unchanged.
func (g *gate) checkSequences(t testing.TB) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	type place struct {
		topic     string
		partition int32
		producer  int64
	}
	next, last := map[place]int32{}, map[place]producedBatch{}
	for _, r := range g.passed {
		for _, b := range r.batches {
			at := place{b.topic, b.partition, b.producer}
			if b == last[at] {
				continue
			}
			if b.sequence != next[at] {
				t.Fatalf("%+v: sequence %d, want %d", at, b.sequence, next[at])
			}
			next[at], last[at] = next[at]+b.count, b
		}
	}
}
