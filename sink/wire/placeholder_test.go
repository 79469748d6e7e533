package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/IBM/sarama"

	"walpost/sink/kafkaerror"
)

// placeholderBytes returns the bytes that sarama writes for a request of these parts.
func placeholderBytes(t testing.TB, parts []Part, number int64) []byte {
	return placeholderOf(t, parts, number, usualProduce)
}

func placeholderOf(t testing.TB, parts []Part, number int64, version int16) []byte {
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
	go b.AsyncProduce(NewSplicer(nil).placeholder(parts, number, version), func(*sarama.ProduceResponse, error) {})
	buf := make([]byte, 1<<16)
	n, err := far.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func TestParsePlaceholder(t *testing.T) {
	const number = 0x0102030405060708
	whole := placeholderBytes(t, partsOf(t, "a/5"), number)
	topics, got, _, ok := parsePlaceholder(whole)
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
		"older version":      func(b []byte) []byte { be.PutUint16(b[6:], 2); return b },
		"newer version":      func(b []byte) []byte { be.PutUint16(b[6:], 10); return b },
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
		if _, _, _, ok := parsePlaceholder(b); ok {
			t.Errorf("%s: taken for a placeholder", name)
		}
	}
}

func FuzzParsePlaceholder(f *testing.F) {
	whole := placeholderBytes(f, partsOf(f, "a/5"), 77)
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
		topics, number, _, ok := parsePlaceholder(b)
		if !ok {
			return
		}
		if topics < 22 || topics > len(b)-8 {
			t.Fatalf("topics at %d of %d", topics, len(b))
		}
		if !bytes.Contains(b[topics:], binary.BigEndian.AppendUint64(nil, uint64(number))) {
			t.Fatalf("number %d is not in the bytes", number)
		}
	})
}

// All requests except produce requests pass unchanged. A produce request that cannot be replaced does not pass.
func TestWhatPasses(t *testing.T) {
	s := NewSplicer(nil)
	near, far := net.Pipe()
	defer far.Close()
	c := newSpliceConn(near, s, "pipe:0")
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
	whole := placeholderBytes(t, partsOf(t, "a/5"), 12)
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
	if _, err := c.Write(whole); !errors.Is(err, errNoRequest) {
		t.Errorf("a placeholder of no request: %v", err)
	}
	older := bytes.Clone(whole)
	binary.BigEndian.PutUint16(older[6:], 2)
	if _, err := c.Write(older); !errors.Is(err, errNoPlaceholder) {
		t.Errorf("a produce request of another version: %v", err)
	}
	far.Close()
	if b, ok := <-got; ok {
		t.Errorf("%.20q got out", b)
	}
}

// If the request or the answer is not as expected, the outcome for the batch is unclear.
func TestErrorsOfOursAreUnclear(t *testing.T) {
	for _, err := range []error{errNoAnswer, errNoPlaceholder} {
		if got := kafkaerror.Classify(err); got != kafkaerror.Unclear || errors.Is(err, io.EOF) {
			t.Errorf("%v: class %d", err, got)
		}
	}
}
