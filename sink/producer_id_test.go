package sink

import (
	"strings"
	"testing"

	"github.com/IBM/sarama"
)

// After a topic was forgotten, new topics wait for a producer id. While no broker gives one, status and log show for each of them that it
// waits, and why.
func TestNewTopicsWaitForAProducerID(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, says string
		refuse     func(*scripted)
		relent     func(*scripted)
	}{
		{"the login is refused", "SASL Authentication failed",
			func(b *scripted) {}, // it is already
			func(b *scripted) {
				b.answer("SaslAuthenticateRequest", sarama.NewMockSaslAuthenticateResponse(t))
			}},
		{"no broker gives one", "coordinator is still loading",
			func(b *scripted) {
				b.answer("SaslAuthenticateRequest", sarama.NewMockSaslAuthenticateResponse(t))
				b.answer("InitProducerIDRequest", sarama.NewMockInitProducerIDResponse(t).SetError(sarama.ErrOffsetsLoadInProgress))
			},
			func(b *scripted) {
				b.answer("InitProducerIDRequest", sarama.NewMockInitProducerIDResponse(t).SetProducerID(77))
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, p, acks, log := refusedLogin(t)
			test.refuse(b)
			b.metadataOf("orders", "stock", "bills")
			p.ids.spend()
			topics := []string{"stock", "bills"}
			for i, topic := range topics {
				publish(t, p, event(topic, "k", i), 2)
			}
			p.Flush(false)
			for _, topic := range topics {
				until(t, "the reason why topic "+topic+" waits", func() bool {
					for _, w := range p.metrics.waits() {
						if w.Topic == topic && !w.Since.IsZero() && w.Err != nil && strings.Contains(w.Err.Error(), test.says) {
							return true
						}
					}
					return false
				})
				until(t, "a warning", log.says("waiting for topic "+topic, test.says))
				if n := log.count("waiting for topic " + topic); n != 1 {
					t.Errorf("%d warnings of topic %s", n, topic)
				}
			}
			test.relent(b)
			acks.wait(t, 3, 0)
			for _, name := range topics {
				to := p.topics[name]
				to.mu.Lock()
				if to.err != nil {
					t.Errorf("topic %s has its partitions, and an error all the same: %v", name, to.err)
				}
				to.mu.Unlock()
			}
			if log.says("secret-of-u")() {
				t.Error("the log has the password")
			}
		})
	}
}
