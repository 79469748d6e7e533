package sink

import (
	"testing"
	"time"

	"walpost/internal/kafkatest"
)

// Connections are cut repeatedly while requests are under way. So answers are lost although their batches are in the log. Each event still
// comes once and in order.
func TestConnectionsAreCut(t *testing.T) {
	t.Parallel()
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 6, nil)
	acks := newLedger()
	cfg := config(t, brokers)
	p := open(t, cfg, acks)
	s := startStream(t, p, acks, topic)
	s.flows(t, 1)
	tick := time.NewTicker(29 * time.Millisecond) // a connection is asked who it is before it is used
	defer tick.Stop()
	retries := func() float64 { n, _ := sample(t, cfg, "walpost_retries_total"); return n }
	for n := 0; n < 100 || n < 1000 && retries() < 20; n++ {
		<-tick.C
		cutConnections(p)
	}
	s.flows(t, 1)
	close(s.stop)
	events := <-s.ended
	acks.wait(t, events, 0)
	checkStream(t, brokers, topic, events)
	if retries() < 20 {
		t.Errorf("%v batches were sent again: this proves little", retries())
	}
	t.Logf("%d events, %v batches sent again", events, retries())
}

// cutConnections closes all connections of a producer.
func cutConnections(p *Producer) {
	for _, addr := range p.addresses() {
		p.splicer.Avoid(addr, 0)
	}
}
