package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"walpost/internal/kafkatest"
	"walpost/internal/reason"
	"walpost/internal/testenv/certs"
	"walpost/sink/auth"
	"walpost/sink/internal/sinktest"
)

// With a plain-text listener, each wrong protocol is proven wrong, and ends the start.
func TestPlainListenerMismatches(t *testing.T) {
	files, err := certs.Write(t.TempDir(), "nobody")
	if err != nil {
		t.Fatal(err)
	}
	brokers := kafkatest.Brokers(t)
	login := auth.Security{Mechanism: "SCRAM-SHA-256", Username: "me", Password: "canary"}
	for protocol, want := range map[string]string{
		"SSL":            "the listener speaks plain text, and kafka.security.protocol is SSL; set it to PLAINTEXT,",
		"SASL_SSL":       "the listener speaks plain text, and kafka.security.protocol is SASL_SSL; set it to SASL_PLAINTEXT,",
		"SASL_PLAINTEXT": "the listener takes no logins, and kafka.security.protocol is SASL_PLAINTEXT; set it to PLAINTEXT,",
	} {
		s := auth.Security{Protocol: protocol}
		if s.SASL() {
			s = login
			s.Protocol = protocol
		}
		if s.SSL() {
			s.CAFile = files.CA
		}
		cfg := config(t, brokers)
		cfg.Security = s
		k, err := NewKafka(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, err = k.Open(ctx, newLedger())
		cancel()
		var perm interface{ Permanent() bool }
		if err == nil || !errors.As(err, &perm) || reason.Of(err) != reason.KafkaListener || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", protocol, err)
		}
	}
}

// A peer that closes every connection may be a broker that is starting. So Open waits, whatever the protocol.
func TestListenerThatHangsUpIsWaitedFor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 1000)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1000)) // so that closing is no reset
			c.Close()
			asked <- struct{}{}
		}
	}()
	t.Cleanup(func() { l.Close() })
	for _, s := range []auth.Security{{}, {Protocol: "SSL"}, {Protocol: "SASL_PLAINTEXT", Mechanism: "PLAIN", Username: "me", Password: "canary"},
		{Protocol: "SASL_SSL", Mechanism: "PLAIN", Username: "me", Password: "canary"}} {
		cfg := config(t, []string{l.Addr().String()})
		cfg.Security = s
		k, err := NewKafka(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		opened := make(chan error, 1)
		go func() {
			_, err := k.Open(ctx, newLedger())
			opened <- err
		}()
		for range 5 { // two attempts and what is asked between them are fewer
			select {
			case <-asked:
			case err := <-opened:
				t.Fatalf("%s: %v", s.Protocol, err)
			}
		}
		until(t, "the status to say what Open waits for", func() bool { return k.Status().Opening != nil })
		cancel()
		if err := <-opened; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", s.Protocol, err)
		}
		if err := k.Status().Opening; err != nil {
			t.Errorf("%s: Open waits no more, but the status says %v", s.Protocol, err)
		}
		for len(asked) > 0 {
			<-asked
		}
	}
}

// A broker with a mismatch does not matter while another broker can be used.
func TestOneMismatchAmongBrokers(t *testing.T) {
	l, _ := sinktest.TLSListener(t, nil)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = c.(*tls.Conn).Handshake()
				c.Close()
			}()
		}
	}()
	cfg := config(t, []string{l.Addr().String()})
	k, err := NewKafka(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(t.Context(), newLedger()); err == nil || !strings.Contains(err.Error(), "the listener speaks TLS") {
		t.Fatalf("alone: %v", err)
	}
	open(t, config(t, append(cfg.Brokers, kafkatest.Brokers(t)...)), newLedger())
}
