package sink

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/auth"
)

// When a broker throttles us, sarama waits with the broker's lock held, and nothing can interrupt that. Close does not wait for it.
func TestCloseUnderAThrottle(t *testing.T) {
	const throttle = 4 * time.Second // more than Close may take, and less than its goroutines are waited for below
	b := newScripted(t, "orders", 1)
	res := &sarama.ProduceResponse{Version: produceVersion, ThrottleTime: throttle}
	res.AddTopicPartition("orders", 0, sarama.ErrNoError)
	b.answer("ProduceRequest", sarama.NewMockWrapper(res))
	acks := newLedger()
	p := openToClose(t, []string{b.Addr()}, acks)
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	acks.wait(t, 1, 0)
	publish(t, p, event("orders", "k", 2), 2)
	p.Flush(false)
	until(t, "a request that waits", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, s := range p.senders {
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.requests) > 0 {
				return true
			}
		}
		return false
	})
	closes(t, p, acks)
	if acked, rejected := acks.total(); acked != 1 || rejected > 0 {
		t.Errorf("%d acked, %d rejected", acked, rejected)
	}
}

// An issuer that accepts the request and does not answer blocks neither Open nor Close.
func TestNobodyWaitsForAnIssuer(t *testing.T) {
	asked, leave := make(chan struct{}, 100), make(chan struct{})
	issuer := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-leave:
		case <-r.Context().Done():
		}
	}))
	defer issuer.Close()
	defer close(leave)
	b := newScripted(t, "orders", 1)
	b.answer("SaslHandshakeRequest", sarama.NewMockSaslHandshakeResponse(t).SetEnabledMechanisms([]string{sarama.SASLTypeOAuth}))
	cfg := config(t, []string{b.Addr()})
	cfg.Security = auth.Security{Protocol: "SASL_PLAINTEXT", Mechanism: "OAUTHBEARER", TokenURL: issuer.URL, ClientID: "walpost", ClientSecret: "secret"}
	k, err := NewKafka(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	opened := make(chan error, 1)
	go func() {
		_, err := k.Open(ctx, newLedger())
		opened <- err
	}()
	<-asked
	begin := time.Now()
	cancel()
	if err := <-opened; err == nil || time.Since(begin) > 3*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}
