package kafkaproxy

import (
	"context"
	"net"
	"testing"
	"time"
)

// A broker that comes back at another address keeps its listener, which leads
// to the new address. A broker that joins gets a listener of its own.
func TestABrokerKeepsItsListener(t *testing.T) {
	c := &Cluster{brokers: make(map[int32]*broker)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	first := ""
	for range 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		b, err := c.at(7, "127.0.0.1", int32(listener.Addr().(*net.TCPAddr).Port))
		if err != nil {
			t.Fatal(err)
		}
		address := b.listener.Addr().String()
		if first == "" {
			first = address
		}
		if address != first {
			t.Errorf("the proxy went from %s to %s", first, address)
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
		if carried, err := listener.Accept(); err != nil {
			t.Errorf("the connection does not reach the broker: %v", err)
		} else {
			carried.Close()
		}
	}
	b, err := c.at(8, "127.0.0.1", 1)
	if err != nil || len(c.Addresses()) != 2 {
		t.Errorf("a second broker: %v, proxies at %v", err, c.Addresses())
	}
	// A held request cannot be delivered to an address that nobody listens at.
	c.keep(&heldRequest{broker: b})
	if err := c.Release(t.Context()); err == nil || c.Held() != 0 {
		t.Errorf("released to nobody: %v, %d held", err, c.Held())
	}
}

// Launch returns an error for a cluster that does not answer when ctx ends.
func TestLaunchWithoutKafka(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Launch(ctx, []string{"127.0.0.1:1"}); err == nil {
		t.Error("launched without a cluster")
	}
}
