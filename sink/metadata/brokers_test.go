package metadata

import (
	"log/slog"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/auth"
	"walpost/sink/internal/sinktest"
	"walpost/sink/wire"
)

// brokers returns an asker with these addresses.
func brokers(t *testing.T, addrs ...string) *Brokers {
	access, err := auth.New(auth.Security{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := wire.NewSplicer(access)
	cfg, err := s.SaramaConfig("walpost-test")
	if err != nil {
		t.Fatal(err)
	}
	b := NewBrokers(cfg, addrs)
	t.Cleanup(func() {
		s.Close()
		b.Close()
	})
	return b
}

// mock returns a broker that accepts requests with these keys.
func mock(t *testing.T, keys ...int16) *sarama.MockBroker {
	b := sarama.NewMockBroker(t, 1)
	t.Cleanup(b.Close)
	var offers []sarama.ApiVersionsResponseKey
	for _, key := range append(keys, 18) {
		offers = append(offers, sarama.ApiVersionsResponseKey{ApiKey: key, MaxVersion: 9})
	}
	b.SetHandlerByMap(map[string]sarama.MockResponse{
		"ApiVersionsRequest":     sarama.NewMockApiVersionsResponse(t).SetApiKeys(offers),
		"MetadataRequest":        sarama.NewMockMetadataResponse(t).SetBroker(b.Addr(), 1).SetLeader("orders", 0, 1),
		"DescribeConfigsRequest": sarama.NewMockDescribeConfigsResponse(t),
	})
	return b
}

// A broker that accepts connections and answers nothing looks idle. It costs one wait, and then the next broker is asked. The broker that
// answered is asked first from then on.
func TestFrozenBrokerIsPassedBy(t *testing.T) {
	b := mock(t, 3, 32)
	silent := sinktest.SilentListener(t)
	ask := brokers(t, silent, silent, b.Addr()) // twice, as a known broker that is a configured one too
	began := time.Now()
	for i := range 20 {
		res, err := ask.Metadata(t.Context(), nil, []string{"orders"}, false)
		if err != nil || len(res.Topics) != 1 || res.Topics[0].Name != "orders" {
			t.Fatalf("answer %d: %+v, %v", i, res, err)
		}
	}
	if took := time.Since(began); took < answerWait || took > 2*answerWait {
		t.Errorf("twenty answers took %v, want one wait of %v", took, answerWait)
	}
}

// A broker that does not know DescribeConfigs counts as one that has answered.
func TestSettingsThatNoBrokerTells(t *testing.T) {
	b := mock(t, 3)
	ask := brokers(t, b.Addr())
	limits, err := ask.MaxMessageBytes(t.Context(), nil, []string{"orders"})
	if len(limits) != 0 || err != nil {
		t.Errorf("%v, %v", limits, err)
	}
	if _, err := ask.Metadata(t.Context(), []string{b.Addr()}, []string{"orders"}, false); err != nil {
		t.Error(err)
	}
	if n := len(b.History()); n != 2 { // of requests: ApiVersions, Metadata
		t.Errorf("%d requests, so the connection was closed", n)
	}
}
