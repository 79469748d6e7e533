package wire

import (
	"time"

	"github.com/IBM/sarama"
)

// Link is a connection to a broker that produce requests go over, and nothing else. The broker has told over it what it takes, and which
// cluster it belongs to. Its methods may be called from any goroutine.
type Link struct {
	Greeting
	broker  *sarama.Broker
	splicer *Splicer
}

// Link connects to a broker. cfg is what [Splicer.SaramaConfig] has returned, or a copy. An error has a method NotSent that returns true; it
// is a [*Mismatch] if no batch can be sent to the broker.
func (s *Splicer) Link(addr string, cfg *sarama.Config) (*Link, error) {
	b, cut, err := ConnectWithin(addr, s.forProducing(cfg), ReadTimeout)
	if err != nil {
		return nil, &unsentError{err, true}
	}
	defer time.AfterFunc(ReadTimeout, cut).Stop()
	g, err := Greet(b, false)
	if err != nil {
		_ = b.Close()
		return nil, &unsentError{err, true}
	}
	return &Link{g, b, s}, nil
}

// forProducing returns cfg with the time-out of produce requests: nothing else is asked over the connection, once it is there.
func (s *Splicer) forProducing(cfg *sarama.Config) *sarama.Config {
	own := *cfg
	own.Net.ReadTimeout = s.answerTimeout()
	return &own
}

// Close closes the connection. Before it returns, requests under way have ended with an error. The broker may have taken them all the same.
func (l *Link) Close() { _ = l.broker.Close() } // an error says that it was closed already
