package sink

import (
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// tells checks that the log and the status tell an operator what to do, and that nothing is rejected.
func (l *logLines) tells(t *testing.T, p *Producer, acks *ledger, what string, cure ...string) {
	t.Helper()
	until(t, "a warning", l.says(append([]string{"waiting for " + what, "cure="}, cure...)...))
	until(t, "a status", func() bool {
		for _, w := range p.metrics.waits() {
			if !strings.Contains(w.Cure, cure[0]) {
				return false
			}
		}
		return len(p.metrics.waits()) == 1
	})
	if _, rejected := acks.total(); rejected > 0 {
		t.Errorf("%d events were rejected", rejected)
	}
}

// An error of a topic is not the fault of a record in it. The events wait, and continue when the topic is in order.
func TestConditionsOfATopic(t *testing.T) {
	for code, cure := range map[sarama.KError]string{
		sarama.ErrUnsupportedForMessageFormat: "message.format.version",
		sarama.ErrInvalidTopic:                "outbox.topic",
	} {
		t.Run(code.Error(), func(t *testing.T) {
			b := newScripted(t, "orders", 1)
			b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, code))
			p, acks, log := openLogged(t, []string{b.Addr()})
			publish(t, p, event("orders", "k", 1), 1)
			publish(t, p, event("orders", "k", 2), 2)
			p.Flush(false)
			log.tells(t, p, acks, "partition 0 of topic orders", cure)
			b.answer("ProduceRequest", produceAnswer(t))
			acks.wait(t, 2, 0)
		})
	}
}

// A topic whose name the brokers refuse when they are asked for its partitions.
func TestInvalidTopicInMetadata(t *testing.T) {
	b := newScripted(t, "orders", 1)
	meta := b.answers["MetadataRequest"].(*sarama.MockMetadataResponse)
	b.answer("MetadataRequest", sarama.NewMockMetadataResponse(t).SetBroker(b.Addr(), 1).SetController(1).SetError("orders", sarama.ErrInvalidTopic))
	p, acks, log := openLogged(t, []string{b.Addr()})
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	log.tells(t, p, acks, "topic orders", "outbox.topic")
	b.answer("MetadataRequest", meta)
	acks.wait(t, 1, 0)
}

// closeConnections closes the connections to the brokers, as an idle time-out does.
func (p *Producer) closeConnections() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.senders {
		p.splicer.Avoid(s.Addr(), 0)
	}
}

// A password is revoked while events flow. The next connection finds that out. Nothing was sent, and only an operator can help.
func TestRevokedPassword(t *testing.T) {
	b, p, acks, log := refusedLogin(t)
	p.closeConnections()
	publish(t, p, event("orders", "k", 2), 2)
	p.Flush(false)
	log.tells(t, p, acks, "partition 0 of topic orders", "kafka.sasl.username (u)", "SASL Authentication failed")
	b.answer("SaslAuthenticateRequest", sarama.NewMockSaslAuthenticateResponse(t))
	acks.wait(t, 2, 0)
	if log.says("secret-of-u")() {
		t.Error("the log has the password")
	}
}

// A batch that failed before its request was written is in no log. If it is divided afterwards, it keeps its sequences, and the lane keeps
// its producer id.
func TestNothingSentIsNotUnclear(t *testing.T) {
	b := newScripted(t, "orders", 1)
	acks := newLedger()
	cfg := config(t, []string{b.Addr()})
	p := open(t, cfg, acks)
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	acks.wait(t, 1, 0)
	p.closeConnections()
	p.splicer.Avoid(b.Addr(), time.Hour) // as if nobody listened
	publish(t, p, event("orders", "k", 2), 2)
	publish(t, p, event("orders", "k", 3), 3)
	p.Flush(false)
	until(t, "an attempt", func() bool {
		n, _ := sample(t, cfg, "walpost_retries_total")
		return n > 0
	})
	b.answer("ProduceRequest", sarama.NewMockSequence(produceAnswer(t).SetError("orders", 0, sarama.ErrMessageSizeTooLarge), produceAnswer(t)))
	p.splicer.Avoid(b.Addr(), 0)
	acks.wait(t, 3, 0)
	if n := asked[*sarama.InitProducerIDRequest](b); n != 1 {
		t.Errorf("%d producer ids were taken, want 1", n)
	}
}
