package wire

import (
	"net"
	"testing"
	"time"

	"walpost/sink/internal/sinktest"
)

// A broker that is avoided loses its connections, whatever waits for it, and is not dialed until some time has passed.
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
		t.Fatal("whoever waits for the broker still waits")
	}
	if _, err := s.Dial("tcp", hung); err == nil {
		t.Error("dialed nevertheless")
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
