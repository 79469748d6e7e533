package replication

import (
	"time"

	"github.com/jackc/pglogrepl"
)

// ShutdownDetector recognises a server that is shutting down by its requests for statuses. Such a server waits until everything that it has
// sent is confirmed, and answers each status with a new request. In an outage of Kafka that would never end, and neither would the server's
// shutdown.
type ShutdownDetector struct {
	walEnd      pglogrepl.LSN
	count       int
	first, last time.Time
}

// Ping counts a request for a status, from a server whose WAL ends at walEnd. It reports whether the server is shutting down: at least ten
// requests in at least four seconds, without a pause of more than a second and without new WAL.
func (d *ShutdownDetector) Ping(now time.Time, walEnd pglogrepl.LSN) bool {
	if walEnd != d.walEnd || now.Sub(d.last) > time.Second {
		*d = ShutdownDetector{walEnd: walEnd, first: now}
	}
	d.last = now
	d.count++
	return d.count >= 10 && now.Sub(d.first) >= 4*time.Second
}
