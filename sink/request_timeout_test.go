package sink

import (
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// A produce request contains how long a leader may wait for its followers, as configured.
func TestRequestTimeoutIsTold(t *testing.T) {
	for configured, want := range map[time.Duration]int32{0: 30_000, 1500 * time.Millisecond: 1500} {
		b, acks := newScripted(t, "orders", 1), newLedger()
		cfg := config(t, []string{b.Addr()})
		cfg.RequestTimeout = configured
		p := open(t, cfg, acks)
		publish(t, p, event("orders", "k", 1), 1)
		p.Flush(false)
		acks.wait(t, 1, 0)
		told := 0
		for _, r := range b.History() {
			if produce, ok := r.Request.(*sarama.ProduceRequest); ok {
				told++
				if produce.Timeout != want {
					t.Errorf("with %s a leader may wait for %d ms, want %d", configured, produce.Timeout, want)
				}
			}
		}
		if told == 0 {
			t.Error("no produce request")
		}
	}
}
