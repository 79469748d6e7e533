package sink

import (
	"errors"
	"time"

	"github.com/IBM/sarama"
)

// Times of looking at topics although no error says that they have changed.
const (
	refreshTopicsEvery = time.Minute     // how often topics are looked at: partitions that were added are used, a limit that was raised too
	confirmFewerFor    = 2 * time.Second // how long brokers have to tell of fewer partitions before that is believed
)

// register makes a topic one of those that are refreshed, and that status and metrics know of. Publishing goroutine.
func (p *Producer) register(t *topic) {
	p.mu.Lock()
	p.known = append(p.known, t)
	first := len(p.known) == 1
	p.mu.Unlock()
	if !first {
		return
	}
	p.metrics.addProducer(p)
	p.start(p.refreshTopics)
}

// refreshTopics looks at all topics every so often, until the producer is closed.
func (p *Producer) refreshTopics() {
	for p.sleep(p.refreshEvery) {
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
				t.checkCount(p)
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
