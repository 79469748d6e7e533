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
func (d *ShutdownDetector) Ping(now time.Time, walEnd pglogrepl.LSN) bool {
	if walEnd != d.walEnd || now.Sub(d.last) > time.Second {
		*d = ShutdownDetector{walEnd: walEnd, first: now}
	}
	d.last = now
	d.count++
	return d.count >= 10 && now.Sub(d.first) >= 4*time.Second
}
