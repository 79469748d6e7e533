package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/testenv/certs"
	"walpost/sink/recordbatch"
)

// flightOf makes a flight with one sealed batch for each name of the form topic/partition.
func flightOf(t testing.TB, places ...string) *flight {
	e, err := recordbatch.NewEncoder(recordbatch.None)
	if err != nil {
		t.Fatal(err)
	}
	topics := map[string]*topic{}
	f := &flight{}
	for i, place := range places {
		var name string
		var partition int32
		if _, err := fmt.Sscanf(place, "%1s/%d", &name, &partition); err != nil {
			t.Fatal(err)
		}
		if topics[name] == nil {
			topics[name] = &topic{name: name}
		}
		b := &batch{}
		for range i + 1 {
			r := &recordbatch.Record{Value: []byte(place)}
			b.count(1, b.Append(r, r.Size()))
		}
		if err := b.Seal(e, recordbatch.Stamp{ProducerID: 1, Sequence: int32(i)}); err != nil {
			t.Fatal(err)
		}
		f.parts = append(f.parts, part{newLane(topics[name], partition, identity{}), b})
	}
	return f
}

// produced is a produce request as it came over the wire.
type produced struct {
	correlation uint32
	client      string
	acks        int16
	timeout     int32
	topics      []string
	batches     map[string][]byte // by topic/partition
}

// readProduce reads one request and takes it apart; everything in it must add up.
func readProduce(t testing.TB, r io.Reader) (p produced) {
	t.Helper()
	length := make([]byte, 4)
	if _, err := io.ReadFull(r, length); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(length))
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	take := func(n int) []byte {
		if n > len(b) {
			t.Fatalf("the request ends %d bytes too early", n-len(b))
		}
		v := b[:n]
		b = b[n:]
		return v
	}
	u16 := func() uint16 { return binary.BigEndian.Uint16(take(2)) }
	u32 := func() uint32 { return binary.BigEndian.Uint32(take(4)) }
	if key, version := u16(), u16(); key != 0 || version != 8 {
		t.Fatalf("request %d of version %d", key, version)
	}
	p.correlation, p.client = u32(), string(take(int(u16())))
	if transaction := int16(u16()); transaction != -1 {
		t.Fatalf("transactional id of length %d", transaction)
	}
	p.acks, p.timeout, p.batches = int16(u16()), int32(u32()), map[string][]byte{}
	for range u32() {
		name := string(take(int(u16())))
		p.topics = append(p.topics, name)
		for range u32() {
			place := fmt.Sprintf("%s/%d", name, u32())
			if p.batches[place] != nil {
				t.Fatalf("partition %s twice", place)
			}
			p.batches[place] = take(int(u32()))
		}
	}
	if len(b) > 0 {
		t.Fatalf("%d bytes behind the request", len(b))
	}
	return p
}

// answer is a produce response, version 8, with a base offset for each partition of one topic.
func answer(correlation uint32, topic string, offsets ...uint64) []byte {
	be := binary.BigEndian
	b := be.AppendUint32(make([]byte, 4), correlation)
	b = be.AppendUint32(b, 1)
	b = be.AppendUint16(b, uint16(len(topic)))
	b = be.AppendUint32(append(b, topic...), uint32(len(offsets)))
	for i, offset := range offsets {
		b = be.AppendUint32(b, uint32(i))
		b = be.AppendUint16(b, 0)       // no error
		b = be.AppendUint64(b, offset)  // base offset
		b = be.AppendUint64(b, 1<<64-1) // no log append time
		b = be.AppendUint64(b, 0)       // log start offset
		b = be.AppendUint32(b, 0)       // no record errors
		b = be.AppendUint16(b, 0xffff)  // no message
	}
	b = be.AppendUint32(b, 0) // throttle
	be.PutUint32(b, uint32(len(b)-4))
	return b
}

// spliced is a sarama broker over a splicer's connection, and the other end of that.
func spliced(t testing.TB, s *splicer) (*sarama.Broker, net.Conn) {
	near, far := net.Pipe()
	cfg := sarama.NewConfig()
	cfg.ClientID = "walpost-test"
	cfg.ApiVersionsRequest = false
	cfg.Net.Proxy.Enable, cfg.Net.Proxy.Dialer = true, pipeDialer{&spliceConn{Conn: near, splicer: s}}
	b := sarama.NewBroker("pipe:0")
	if err := b.Open(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(); far.Close() })
	return b, far
}

type pipeDialer struct{ net.Conn }

func (d pipeDialer) Dial(_, _ string) (net.Conn, error) { return d.Conn, nil }

// What sarama is told to send goes out as our batches, and the answer finds its way back.
func TestSplicedRequest(t *testing.T) {
	s := newSplicer(nil)
	b, far := spliced(t, s)
	for round, places := range [][]string{{"a/0"}, {"a/0", "a/1", "b/0", "c/7", "c/2147483647"}, {"a/1"}} {
		f := flightOf(t, places...)
		type landing struct {
			res *sarama.ProduceResponse
			err error
		}
		landed := make(chan landing, 1)
		sent := make(chan error, 1)
		go func() {
			sent <- b.AsyncProduce(placeholder(f, s.add(f)), func(res *sarama.ProduceResponse, err error) { landed <- landing{res, err} })
		}()
		p := readProduce(t, far)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if p.client != "walpost-test" || p.acks != -1 || p.timeout != int32(produceTimeout/time.Millisecond) || p.correlation != uint32(round) {
			t.Errorf("head %+v", p)
		}
		if len(p.batches) != len(f.parts) || !slices.IsSorted(p.topics) || len(slices.Compact(slices.Clone(p.topics))) != len(p.topics) {
			t.Errorf("topics %v, %d batches of %d", p.topics, len(p.batches), len(f.parts))
		}
		for i, part := range f.parts {
			if !bytes.Equal(p.batches[places[i]], part.batch.Wire()) {
				t.Errorf("%s: %d bytes arrived, not the batch's %d", places[i], len(p.batches[places[i]]), len(part.batch.Wire()))
			}
		}
		if _, err := far.Write(answer(p.correlation, "a", 100, 101)); err != nil {
			t.Fatal(err)
		}
		l := <-landed
		if l.err != nil || l.res.GetBlock("a", 1) == nil || l.res.GetBlock("a", 1).Offset != 101 {
			t.Fatalf("answer %+v, %v", l.res, l.err)
		}
		if len(s.flights) > 0 {
			t.Errorf("%d flights are remembered behind their request", len(s.flights))
		}
	}
}

// placeholderBytes is what sarama writes for a flight.
func placeholderBytes(t testing.TB, f *flight, number int64) []byte {
	near, far := net.Pipe()
	cfg := sarama.NewConfig()
	cfg.ClientID = "walpost-test"
	cfg.ApiVersionsRequest = false
	cfg.Net.Proxy.Enable, cfg.Net.Proxy.Dialer = true, pipeDialer{near}
	b := sarama.NewBroker("pipe:0")
	if err := b.Open(cfg); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	go b.AsyncProduce(placeholder(f, number), func(*sarama.ProduceResponse, error) {})
	buf := make([]byte, 1<<16)
	n, err := far.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func TestParsePlaceholder(t *testing.T) {
	const number = 0x0102030405060708
	whole := placeholderBytes(t, flightOf(t, "a/5"), number)
	topics, got, ok := parsePlaceholder(whole)
	if !ok || got != number || !isProduce(whole) {
		t.Fatalf("placeholder not recognised: %d, %v", got, ok)
	}
	if head := whole[topics:]; binary.BigEndian.Uint32(head) != 1 || string(head[4:7]) != "\x00\x01a" {
		t.Errorf("topics begin with %q", head[:8])
	}
	be := binary.BigEndian
	for name, spoil := range map[string]func([]byte) []byte{
		"another request": func(b []byte) []byte { be.PutUint16(b[4:], 1); return b },
		"one byte less":   func(b []byte) []byte { return b[:len(b)-1] },
		"one byte more":   func(b []byte) []byte { return append(b, 0) },
		"two requests":    func(b []byte) []byte { return append(b, b...) },
		"length beyond":   func(b []byte) []byte { be.PutUint32(b, 1<<32-1); return b },
		"nothing":         func(b []byte) []byte { return nil },
		"a length alone":  func(b []byte) []byte { return b[:4] },
	} {
		if isProduce(spoil(bytes.Clone(whole))) {
			t.Errorf("%s: taken for a produce request", name)
		}
	}
	relength := func(b []byte) []byte { be.PutUint32(b, uint32(len(b)-4)); return b }
	for name, spoil := range map[string]func([]byte) []byte{
		"older version":      func(b []byte) []byte { be.PutUint16(b[6:], 7); return b },
		"newer version":      func(b []byte) []byte { be.PutUint16(b[6:], 9); return b },
		"client beyond":      func(b []byte) []byte { be.PutUint16(b[12:], 5000); return b },
		"no client":          func(b []byte) []byte { be.PutUint16(b[12:], 0xffff); return b },
		"topic beyond":       func(b []byte) []byte { be.PutUint16(b[topics+4:], 5000); return b },
		"without topics":     func(b []byte) []byte { return relength(b[:topics]) },
		"within the client":  func(b []byte) []byte { return relength(b[:15]) },
		"no batch":           func(b []byte) []byte { return relength(b[:topics+4+2+1+12]) },
		"half a base offset": func(b []byte) []byte { return relength(b[:topics+4+2+1+12+7]) },
	} {
		b := spoil(bytes.Clone(whole))
		if !isProduce(b) {
			t.Errorf("%s: not taken for a produce request", name)
		}
		if _, _, ok := parsePlaceholder(b); ok {
			t.Errorf("%s: taken for a placeholder", name)
		}
	}
}

func FuzzParsePlaceholder(f *testing.F) {
	whole := placeholderBytes(f, flightOf(f, "a/5"), 77)
	for n := range whole {
		b := bytes.Clone(whole[:n+1])
		f.Add(b)
		if n >= 8 {
			binary.BigEndian.PutUint32(b, uint32(n-3))
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !isProduce(b) {
			return
		}
		topics, number, ok := parsePlaceholder(b)
		if !ok {
			return
		}
		if topics < 22 || topics > len(b)-8 {
			t.Fatalf("topics at %d of %d", topics, len(b))
		}
		if !bytes.Contains(b[topics:], binary.BigEndian.AppendUint64(nil, uint64(number))) {
			t.Fatalf("number %d comes from nowhere", number)
		}
	})
}

// Everything but produce requests passes as it is; a produce request that cannot be replaced does not pass.
func TestWhatPasses(t *testing.T) {
	s := newSplicer(nil)
	near, far := net.Pipe()
	defer far.Close()
	c := &spliceConn{Conn: near, splicer: s}
	defer c.Close()
	got := make(chan []byte, 10)
	go func() {
		for {
			buf := make([]byte, 1<<16)
			n, err := far.Read(buf)
			if err != nil {
				close(got)
				return
			}
			got <- buf[:n]
		}
	}()
	whole := placeholderBytes(t, flightOf(t, "a/5"), 12)
	metadata := bytes.Clone(whole)
	binary.BigEndian.PutUint16(metadata[4:], 3)
	for _, b := range [][]byte{metadata, []byte("\x00user\x00password"), {0, 0, 0, 2, 0, 0}, {1}} {
		if n, err := c.Write(b); n != len(b) || err != nil {
			t.Errorf("%.20q: %d, %v", b, n, err)
		}
		if passed := <-got; !bytes.Equal(passed, b) {
			t.Errorf("%.20q became %.20q", b, passed)
		}
	}
	if _, err := c.Write(whole); !errors.Is(err, errNoFlight) {
		t.Errorf("a placeholder without a flight: %v", err)
	}
	older := bytes.Clone(whole)
	binary.BigEndian.PutUint16(older[6:], 7)
	if _, err := c.Write(older); !errors.Is(err, errNoPlaceholder) {
		t.Errorf("a produce request of another version: %v", err)
	}
	far.Close()
	if b, ok := <-got; ok {
		t.Errorf("%.20q got out", b)
	}
}

// tlsServer listens with a certificate for 127.0.0.1 and hands out its connections; trust is what a client needs.
func tlsServer(t *testing.T) (net.Listener, *x509.CertPool) {
	files, err := certs.Write(t.TempDir(), "splice")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	if !trust.AppendCertsFromPEM(ca) {
		t.Fatal("no certificate authority")
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, trust
}

// Under TLS the request arrives the same, and its pieces share records: a request of many small batches must not become twice as many.
func TestSplicedRequestUnderTLS(t *testing.T) {
	l, trust := tlsServer(t)
	s := newSplicer(&tls.Config{RootCAs: trust})
	defer s.close()
	arrived := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.(*tls.Conn).Handshake()
		}
		if err != nil {
			close(arrived)
			return
		}
		arrived <- c
	}()
	conn, err := s.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far := <-arrived
	defer far.Close()
	places := make([]string, 100)
	for i := range places {
		places[i] = fmt.Sprintf("a/%d", i)
	}
	f := flightOf(t, places...)
	b := placeholderBytes(t, f, s.add(f))
	sent := make(chan error, 1)
	go func() {
		n, err := conn.Write(b)
		if n != len(b) && err == nil {
			err = io.ErrShortWrite
		}
		sent <- err
	}()
	reads := &countingReader{r: far}
	p := readProduce(t, reads)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	for i, part := range f.parts {
		if !bytes.Equal(p.batches[places[i]], part.batch.Wire()) {
			t.Errorf("%s: not the batch", places[i])
		}
	}
	// A read returns at most one record. What is not a produce request goes out beside the buffer, in order.
	if most := 3 + reads.bytes/4096; reads.n > most {
		t.Errorf("%d bytes came in %d records, want %d at most", reads.bytes, reads.n, most)
	}
}

type countingReader struct {
	r        io.Reader
	n, bytes int
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n++
	c.bytes += n
	return n, err
}

// A certificate that nobody signed, or that is for another name, ends the attempt, with the reason.
func TestDialVerifies(t *testing.T) {
	l, trust := tlsServer(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	var unknown x509.UnknownAuthorityError
	if _, err := newSplicer(&tls.Config{}).Dial("tcp", l.Addr().String()); !errors.As(err, &unknown) {
		t.Errorf("unknown authority: %v", err)
	}
	var name x509.HostnameError
	if _, err := newSplicer(&tls.Config{RootCAs: trust, ServerName: "kafka.example"}).Dial("tcp", l.Addr().String()); !errors.As(err, &name) {
		t.Errorf("another name: %v", err)
	}
	if c, err := newSplicer(&tls.Config{RootCAs: trust}).Dial("tcp", l.Addr().String()); err != nil {
		t.Errorf("127.0.0.1: %v", err)
	} else {
		c.Close()
	}
}

// Closing ends what is connected, what is being connected, and what would be.
func TestSplicerCloses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newSplicer(nil)
	conn, err := s.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	silent := newSplicer(&tls.Config{InsecureSkipVerify: true}) // whom it connects to never answers the handshake
	dialed := make(chan error, 1)
	go func() {
		_, err := silent.Dial("tcp", l.Addr().String())
		dialed <- err
	}()
	for i := range 2 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i == 1 {
			if _, err := c.Read(make([]byte, 1)); err != nil { // the handshake has begun
				t.Fatal(err)
			}
		}
	}
	begin := time.Now()
	s.close()
	silent.close()
	if err := <-dialed; err == nil || time.Since(begin) > dialTimeout/2 {
		t.Errorf("the attempt ended after %v: %v", time.Since(begin), err)
	}
	if _, err := conn.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection is open: %v", err)
	}
	if _, err := s.Dial("tcp", l.Addr().String()); !errors.Is(err, context.Canceled) && !errors.Is(err, net.ErrClosed) {
		t.Errorf("a new one can be made: %v", err)
	}
}
