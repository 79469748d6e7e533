package sink

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Status is the state of a [Kafka] for a person to read.
type Status struct {
	Opening   error          // why a producer that is being opened waits, with the cure and a reason code; nil: no producer is being opened, or its first attempt is not over
	Published int64          // events that all in-sync replicas have acknowledged, since the process began
	Blocked   []BlockedTopic // the topic that waits longest comes first
	Waits     []Wait         // all topics with unacked events, in the same order; in a healthy stream each waits for milliseconds
}

// BlockedTopic is a topic whose events wait until Kafka accepts them.
type BlockedTopic struct {
	Name string
	For  time.Duration
}

// Status returns what the producers of k have done and what they wait for. It reads the metrics, which hold all of it. It may be called at
// any time, from any goroutine.
func (k *Kafka) Status() Status {
	s := Status{Waits: k.metrics.waits()}
	if err := k.metrics.opening.Load(); err != nil {
		s.Opening = *err
	}
	collect(k.metrics.published, func(m *dto.Metric) { s.Published += int64(m.GetCounter().GetValue()) })
	collect(k.metrics.topicBlocked, func(m *dto.Metric) {
		if seconds := m.GetGauge().GetValue(); seconds > 0 {
			s.Blocked = append(s.Blocked, BlockedTopic{m.GetLabel()[0].GetValue(), time.Duration(seconds * float64(time.Second))})
		}
	})
	slices.SortFunc(s.Blocked, func(a, b BlockedTopic) int { return cmp.Or(cmp.Compare(b.For, a.For), cmp.Compare(a.Name, b.Name)) })
	return s
}

// collect calls see with every metric of c.
func collect(c prometheus.Collector, see func(*dto.Metric)) {
	ch := make(chan prometheus.Metric)
	go func() {
		defer close(ch)
		c.Collect(ch)
	}()
	for m := range ch {
		var one dto.Metric
		if m.Write(&one) == nil { // it cannot fail for counters and gauges
			see(&one)
		}
	}
}
