package wire

import (
	"io"
	"net"
	"testing"
	"time"

	"walpost/sink/internal/sinktest"
)

// An avoided broker loses its connections, even if something waits for it, and is not dialed until some time has passed.
func TestAvoid(t *testing.T) {
	s := NewSplicer(nil)
	defer s.Close()
	hung, other := sinktest.SilentListener(t), sinktest.SilentListener(t)
	conn, err := s.Dial("tcp", hung)
	if err != nil {
		t.Fatal(err)
	}
	good, err := s.Dial("tcp", other)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 2)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	s.Avoid(hung, time.Hour)
	select {
	case err := <-read:
		if err == nil {
			t.Error("something was read")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a read from the broker still waits")
	}
	if _, err := s.Dial("tcp", hung); err == nil {
		t.Error("the broker was dialed anyway")
	}
	if _, err := good.Write([]byte("x")); err != nil {
		t.Errorf("another broker's connection: %v", err)
	}
	s.Avoid(hung, 0)
	var again net.Conn
	if again, err = s.Dial("tcp", hung); err != nil {
		t.Errorf("dialed later: %v", err)
	} else {
		again.Close()
	}
}

// politeConn is slow to close, like a TLS connection that tells the end to a peer that reads nothing.
type politeConn struct {
	net.Conn
	leave chan struct{}
}

func (c politeConn) Close() error {
	<-c.leave
	return c.Conn.Close()
}

// Connections are closed at once, and calls of the splicer meanwhile do not wait for a peer.
func TestNobodyIsToldOfTheEnd(t *testing.T) {
	for what, end := range map[string]func(*Splicer){
		"avoid": func(s *Splicer) { s.Avoid("pipe:0", time.Hour) },
		"close": (*Splicer).Close,
	} {
		t.Run(what, func(t *testing.T) {
			s := NewSplicer(nil)
			near, far := net.Pipe()
			defer far.Close()
			if err := far.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			c := newSpliceConn(near, s, "pipe:0")
			leave := make(chan struct{})
			defer close(leave)
			c.Conn = politeConn{near, leave}
			s.conns[c] = struct{}{}
			ended := make(chan struct{})
			go func() {
				end(s)
				s.drop(1) // takes the lock
				close(ended)
			}()
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				t.Fatal("the splicer waits for a peer")
			}
			if _, err := far.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the connection has not ended: %v", err)
			}
		})
	}
}
