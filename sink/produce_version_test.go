package sink

import (
	"errors"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"walpost/internal/diagnosis"
	"walpost/sink/recordbatch"
)

// Each broker is sent the newest version that both sides know. Version 9 is sent only to brokers that have dropped 8.
func TestBrokersOfOtherMakes(t *testing.T) {
	for _, test := range []struct {
		what                 string
		oldest, newest, want int16
	}{
		{"Kafka 2.8", 0, 9, 8}, {"Kafka 4", 3, 13, 8}, {"Redpanda, Event Hubs", 0, 7, 7}, {"an old one", 0, 3, 3}, {"one that has dropped 8", 9, 12, 9},
	} {
		t.Run(test.what, func(t *testing.T) {
			b := newScripted(t, "orders", 2)
			b.answer("ApiVersionsRequest", apiVersionsFrom(t, test.oldest, test.newest))
			b.answer("ProduceRequest", sarama.NewMockProduceResponse(t).SetVersion(test.want))
			acks := newLedger()
			cfg := config(t, []string{b.Addr()})
			cfg.Codec = recordbatch.LZ4
			p := open(t, cfg, acks)
			for i := range 20 {
				publish(t, p, event("orders", string(rune('a'+i)), i), uint64(i))
			}
			p.Flush(false)
			acks.wait(t, 20, 0)
			// A bad record is also found if the broker does not name it.
			b.answer("ProduceRequest", sarama.NewMockSequence(
				sarama.NewMockProduceResponse(t).SetVersion(test.want).SetError("orders", 0, sarama.ErrMessageSizeTooLarge).SetError("orders", 1, sarama.ErrMessageSizeTooLarge),
				sarama.NewMockProduceResponse(t).SetVersion(test.want)))
			for i := range 20 {
				publish(t, p, event("orders", string(rune('a'+i)), i), uint64(i))
			}
			p.Flush(false)
			acks.wait(t, 40, 0)
			requests := 0
			for _, r := range b.History() {
				if req, ok := r.Request.(*sarama.ProduceRequest); ok {
					requests++
					if req.Version != test.want {
						t.Errorf("a request of version %d, want %d", req.Version, test.want)
					}
				}
			}
			if requests == 0 {
				t.Error("no request came")
			}
		})
	}
}

// A broker that accepts none of our versions ends Open before it takes a producer id. The doctor reports the same.
func TestBrokerTakesNoRequestOfOurs(t *testing.T) {
	for _, test := range []struct {
		what           string
		oldest, newest int16
		codec          recordbatch.Codec
		want           string
	}{
		{"too old", 0, 2, recordbatch.None, " offers produce requests of versions 0 to 2, and walpost sends 3 to 9"},
		{"too new", 10, 14, recordbatch.None, " offers produce requests of versions 10 to 14, and walpost sends 3 to 9"},
		{"too old for zstd", 0, 6, recordbatch.Zstd, " offers produce requests of versions 0 to 6, and zstd needs 7; set kafka.compression.type to another codec"},
	} {
		t.Run(test.what, func(t *testing.T) {
			b := newScripted(t, "orders", 1)
			b.answer("ApiVersionsRequest", apiVersionsFrom(t, test.oldest, test.newest))
			cfg := config(t, []string{b.Addr()})
			cfg.Codec = test.codec
			k, err := NewKafka(cfg)
			if err != nil {
				t.Fatal(err)
			}
			p, err := k.Open(t.Context(), newLedger())
			if p != nil {
				p.Close()
			}
			var permanent interface{ Permanent() bool }
			if !errors.As(err, &permanent) || !strings.Contains(err.Error(), b.Addr()+test.want) {
				t.Errorf("open: %v, want %s", err, test.want)
			}
			if n := asked[*sarama.InitProducerIDRequest](b); n > 0 {
				t.Errorf("%d producer ids were taken", n)
			}
			found := false
			for _, f := range k.Diagnose(t.Context()) {
				if f.Level == diagnosis.Failed && strings.Contains(f.Found+"; "+f.Cure, b.Addr()+test.want) {
					found = true
				}
			}
			if !found {
				t.Errorf("the doctor does not say so: %+v", k.Diagnose(t.Context()))
			}
		})
	}
}

// A broker that was replaced, and no longer accepts any of our versions, is logged with the cure. It gets no produce request.
func TestBrokerBecomesAnother(t *testing.T) {
	b := newScripted(t, "orders", 1)
	p, acks, log := openLogged(t, []string{b.Addr()})
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	acks.wait(t, 1, 0)
	b.answer("ApiVersionsRequest", apiVersionsFrom(t, 10, 14))
	p.closeConnections()
	publish(t, p, event("orders", "k", 2), 2)
	p.Flush(false)
	log.tells(t, p, acks, "partition 0 of topic orders", "use a newer walpost", "versions 10 to 14")
	if n := asked[*sarama.ProduceRequest](b); n != 1 {
		t.Errorf("%d produce requests, want 1", n)
	}
	b.answer("ApiVersionsRequest", apiVersions(t, produceVersion))
	p.closeConnections()
	acks.wait(t, 2, 0)
}

// sarama treats hosts with Azure's names as brokers of version 1.0, and so would send them no request that came later.
func TestAzuresHostNames(t *testing.T) {
	b := newScripted(t, "orders", 1)
	cfg := config(t, []string{"namespace.servicebus.windows.net:9093", b.Addr()})
	p := open(t, cfg, newLedger())
	if v := p.brokerConfig().Version; v != sarama.V2_8_0_0 {
		t.Errorf("requests are made for Kafka %s", v)
	}
}
