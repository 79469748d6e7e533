package sink

import (
	"errors"
	"time"

	"github.com/IBM/sarama"
)

// What happens to a topic without an error that would tell of it.
const (
	attendEvery = time.Minute     // how often topics are looked at: partitions that were added are used, a limit that was raised too
	fewerFor    = 2 * time.Second // how long brokers have to tell of fewer partitions before that is believed
)

// know makes a topic one of those that are attended to and told of. Publishing goroutine.
func (p *Producer) know(t *topic) {
	p.mu.Lock()
	p.known = append(p.known, t)
	first := len(p.known) == 1
	p.mu.Unlock()
	if !first {
		return
	}
	p.metrics.join(p)
	p.start(p.attendToTopics)
}

// attendToTopics looks at all topics every so often, until the producer is closed.
func (p *Producer) attendToTopics() {
	defer p.metrics.leave(p)
	for p.sleep(p.attend) {
		var names []string
		topics := p.knownTopics()
		for _, t := range topics {
			names = append(names, t.name)
		}
		if errors.Is(p.client.RefreshMetadata(names...), sarama.ErrOutOfBrokers) {
			continue // any other error is of some topics only
		}
		for _, t := range topics {
			if t.partitions.Load() != nil {
				t.compare(p)
				t.grow(p)
			}
		}
	}
}

func (p *Producer) knownTopics() []*topic {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[:len(p.known):len(p.known)]
}
