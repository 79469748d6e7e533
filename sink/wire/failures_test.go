package wire

import (
	"net"
	"testing"
	"time"

	"walpost/sink/auth"
)

// An attempt to connect has failed if nobody listens, or if the peer closes the connection before it sends anything. It has not failed if
// the peer has answered something before, or if we close the connection.
func TestFailures(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	words := make(chan string)
	ended := make(chan struct{})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			word := <-words
			_, _ = conn.Write([]byte(word))
			if word != "silence" {
				conn.Close()
			} else {
				defer conn.Close()
			}
			ended <- struct{}{}
		}
	}()
	s, addr := NewSplicer(over(t, auth.Security{})), l.Addr().String()
	defer s.Close()
	want := 0
	expect := func(what string) {
		t.Helper()
		if n := s.Failures(addr); n != want {
			t.Errorf("%s: %d failures, want %d", what, n, want)
		}
	}
	talk := func(word string, after func(net.Conn)) {
		t.Helper()
		conn, err := s.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		words <- word
		<-ended
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, 10)
		if word != "" {
			if _, err := conn.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
		after(conn)
	}
	read := func(conn net.Conn) {
		for range 2 {
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("a peer that is gone sends something")
			}
		}
	}
	talk("hello", read)
	expect("a peer that hung up after a word")
	talk("", read)
	want++
	expect("a peer that hung up at once")
	talk("silence", func(conn net.Conn) { conn.Close(); read(conn) })
	expect("a connection that we ended")
	l.Close()
	if _, err := s.Dial("tcp", addr); err == nil {
		t.Error("a connection to nobody")
	}
	want++
	expect("nobody listens")
}
