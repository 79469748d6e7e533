package replication

import (
	"time"

	"github.com/jackc/pglogrepl"
)

// ShutdownDetector recognises a server that is shutting down by the statuses that it asks for. Such a server waits until everything that it has
// sent is confirmed, and asks for a status again at each answer. In an outage of Kafka that would last for ever, and the server's shutdown
// with it.
type ShutdownDetector struct {
	walEnd      pglogrepl.LSN
	count       int
	first, last time.Time
}

// Ping counts a request for a status, by a server whose WAL ends at walEnd. It reports whether the server is shutting down: ten requests and
// more, for four seconds, without a second's pause and without new WAL.
func (p *ShutdownDetector) Ping(now time.Time, walEnd pglogrepl.LSN) bool {
	if walEnd != p.walEnd || now.Sub(p.last) > time.Second {
		*p = ShutdownDetector{walEnd: walEnd, first: now}
	}
	p.last = now
	p.count++
	return p.count >= 10 && now.Sub(p.first) >= 4*time.Second
}
