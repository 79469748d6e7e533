package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"walpost/sink/auth"
	"walpost/sink/internal/sinktest"
)

// over returns the access with these settings.
func over(t *testing.T, s auth.Security) *auth.Access {
	t.Helper()
	a, err := auth.New(s, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// With TLS, the same request arrives, and its pieces share TLS records: a request of many small batches must not become twice as many
// records.
func TestSplicedRequestUnderTLS(t *testing.T) {
	l, files := sinktest.TLSListener(t, nil)
	s := NewSplicer(over(t, auth.Security{Protocol: "SSL", CAFile: files.CA}))
	defer s.Close()
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
	parts := partsOf(t, places...)
	b := placeholderBytes(t, parts, s.add(parts))
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
	for i, part := range parts {
		if !bytes.Equal(p.batches[places[i]], part.Batch) {
			t.Errorf("%s: not the batch", places[i])
		}
	}
	// A read returns at most one TLS record. Requests that are not produce requests are written without the buffer, in order.
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

// A certificate of an unknown authority, or for another name, ends the attempt, with the reason.
func TestDialVerifies(t *testing.T) {
	listen := func(change func(*x509.Certificate)) (address string, trust auth.Security) {
		l, files := sinktest.TLSListener(t, change)
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
		return l.Addr().String(), auth.Security{Protocol: "SSL", CAFile: files.CA}
	}
	address, trust := listen(nil)
	var unknown x509.UnknownAuthorityError
	if _, err := NewSplicer(over(t, auth.Security{Protocol: "SSL"})).Dial("tcp", address); !errors.As(err, &unknown) {
		t.Errorf("unknown authority: %v", err)
	}
	elsewhere, trusted := listen(func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"kafka.example"}, nil })
	var name x509.HostnameError
	if _, err := NewSplicer(over(t, trusted)).Dial("tcp", elsewhere); !errors.As(err, &name) {
		t.Errorf("another name: %v", err)
	}
	if c, err := NewSplicer(over(t, trust)).Dial("tcp", address); err != nil {
		t.Errorf("127.0.0.1: %v", err)
	} else {
		c.Close()
	}
}

// Close ends open connections and attempts to connect, and prevents new ones.
func TestSplicerCloses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := NewSplicer(nil)
	conn, err := s.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	silent := NewSplicer(over(t, auth.Security{Protocol: "SSL"})) // whom it connects to never answers the handshake
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
	s.Close()
	silent.Close()
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
