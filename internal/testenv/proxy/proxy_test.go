package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// serve listens and returns a channel with the accepted connections.
func serve(t *testing.T) (address string, taken <-chan net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	conns := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			conns <- c
		}
	}()
	return listener.Addr().String(), conns
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// say writes on one side and returns what the other side receives within a moment.
func say(t *testing.T, from, to net.Conn, text string) error {
	t.Helper()
	if _, err := from.Write([]byte(text)); err != nil {
		return err
	}
	to.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(to, buf); err != nil {
		return err
	}
	if string(buf) != text {
		t.Errorf("%q arrived as %q", text, buf)
	}
	return nil
}

// Each direction can be stalled separately, for the present connections.
func TestStall(t *testing.T) {
	address, taken := serve(t)
	p := Start(t, address)
	for _, c := range []struct{ up, down bool }{{true, false}, {false, true}, {true, true}} {
		client := dial(t, p)
		server := <-taken
		if up, down := say(t, client, server, "ask"), say(t, server, client, "answer"); up != nil || down != nil {
			t.Fatalf("before: %v, %v", up, down)
		}
		p.Stall(c.up, c.down)
		up, down := say(t, client, server, "ask"), say(t, server, client, "answer")
		if errors.Is(up, os.ErrDeadlineExceeded) != c.up || errors.Is(down, os.ErrDeadlineExceeded) != c.down {
			t.Errorf("stalled up %v, down %v: %v, %v", c.up, c.down, up, down)
		}
		// The other side does not learn of a close that is not forwarded.
		if c.down {
			server.Close()
			if err := say(t, server, client, ""); err == nil {
				t.Error("a closed side wrote")
			}
			client.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the end came through: %v", err)
			}
		}
		fresh := dial(t, p)
		if err := say(t, fresh, <-taken, "ask"); err != nil {
			t.Errorf("a new connection: %v", err)
		}
		p.Cut()
	}
}

// A cut resets both sides, and the next connection works. If no server listens, a connection is reset.
func TestCut(t *testing.T) {
	address, taken := serve(t)
	p := Start(t, address)
	client := dial(t, p)
	server := <-taken
	if err := say(t, client, server, "ask"); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	for name, c := range map[string]net.Conn{"client": client, "server": server} {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := say(t, dial(t, p), <-taken, "ask"); err != nil {
		t.Errorf("the next connection: %v", err)
	}

	alone := Start(t, "127.0.0.1:1")
	c, err := net.Dial("tcp", alone.Address()) // the reset may come before dialing has ended
	if err == nil {
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no server: %v", err)
	}
}

// With a router, each client reaches the server that it asks for, and the server gets everything that the client has sent.
func TestRoute(t *testing.T) {
	one, takenOne := serve(t)
	two, takenTwo := serve(t)
	p := StartRouter(t, func(first []byte) string {
		if string(first) == "one" {
			return one
		}
		return two
	})
	for word, taken := range map[string]<-chan net.Conn{"one": takenOne, "two": takenTwo} {
		client := dial(t, p)
		if _, err := client.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		server := <-taken
		if err := say(t, server, client, "hello"); err != nil {
			t.Errorf("%s: %v", word, err)
		}
		got := make([]byte, len(word))
		if _, err := io.ReadFull(server, got); err != nil || string(got) != word {
			t.Errorf("%s got %q, %v", word, got, err)
		}
	}
}

// A connection that is used stays open, and an idle one is reset.
func TestLimitIdle(t *testing.T) {
	address, taken := serve(t)
	p := Start(t, address)
	busy := dial(t, p)
	behindBusy := <-taken
	idle := dial(t, p)
	<-taken
	p.LimitIdle(time.Second)
	stop := time.Now().Add(3 * time.Second)
	for p.Expired() == 0 || time.Now().Before(stop) {
		if err := say(t, busy, behindBusy, "ask"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	idle.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) || p.Expired() != 1 {
		t.Errorf("%v, %d connections were idle", err, p.Expired())
	}
}
