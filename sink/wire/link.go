package wire

import (
	"time"

	"github.com/IBM/sarama"
)

// Link is a connection to a broker that is used only for produce requests. The broker has told over it which versions it accepts, and which
// cluster it belongs to. Its methods may be called from any goroutine.
type Link struct {
	Greeting
	broker  *sarama.Broker
	splicer *Splicer
}

// Link connects to a broker. cfg comes from [Splicer.SaramaConfig], or is a copy of that. An error has a method NotSent that returns true.
// It is a [*Mismatch] if no batch can be sent to the broker.
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

// forProducing returns a copy of cfg with the time-out of produce requests. Once the connection is made, it carries no other requests.
func (s *Splicer) forProducing(cfg *sarama.Config) *sarama.Config {
	own := *cfg
	own.Net.ReadTimeout = s.answerTimeout()
	return &own
}

// Close closes the connection. Before it returns, requests under way end with an error. The broker may have accepted them anyway.
func (l *Link) Close() { _ = l.broker.Close() } // an error means that it was closed before
