package wire

import "time"

// Limits of connections.
const (
	dialTimeout    = 5 * time.Second
	ReadTimeout    = 15 * time.Second // how long an answer is waited for
	produceTimeout = 10 * time.Second // how long a leader may wait for its followers

	// MaxOpenRequests is how many requests a broker connection has under way. Each holds other lanes.
	MaxOpenRequests = 5
)
