package wire

import "time"

// Time-outs and limits of connections.
const (
	dialTimeout = 5 * time.Second
	ReadTimeout = 15 * time.Second // how long walpost waits for an answer, except to a produce request

	// DefaultRequestTimeout is Kafka's own default of request.timeout.ms.
	DefaultRequestTimeout = 30 * time.Second

	// MaxOpenRequests is the maximum number of requests under way on a connection to a broker. Each request holds other lanes.
	MaxOpenRequests = 5
)

// leaderTimeout returns how long a leader may wait for its followers. Each produce request contains it.
func (s *Splicer) leaderTimeout() time.Duration {
	if s.RequestTimeout == 0 {
		return DefaultRequestTimeout
	}
	return s.RequestTimeout
}

// answerTimeout returns how long walpost waits for the answer to a produce request. It is longer than leaderTimeout. Otherwise, the
// connection could be closed before a leader reports that its followers are slow, and the other requests on the connection would be lost.
func (s *Splicer) answerTimeout() time.Duration {
	leader := s.leaderTimeout()
	return leader + min(leader/2, 5*time.Second)
}
