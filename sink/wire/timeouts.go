package wire

import "time"

// Limits of connections.
const (
	dialTimeout = 5 * time.Second
	ReadTimeout = 15 * time.Second // how long an answer is waited for, but one to a produce request

	// DefaultRequestTimeout is Kafka's own default of request.timeout.ms.
	DefaultRequestTimeout = 30 * time.Second

	// MaxOpenRequests is how many requests a broker connection has under way. Each holds other lanes.
	MaxOpenRequests = 5
)

// leaderTimeout returns how long a leader may wait for its followers: a produce request says it.
func (s *Splicer) leaderTimeout() time.Duration {
	if s.RequestTimeout == 0 {
		return DefaultRequestTimeout
	}
	return s.RequestTimeout
}

// answerTimeout returns how long the answer to a produce request is waited for. It is more than the leader has: a leader that says that its
// followers are slow must not find the connection closed, and what else is under way on it lost.
func (s *Splicer) answerTimeout() time.Duration {
	leader := s.leaderTimeout()
	return leader + min(leader/2, 5*time.Second)
}
