package relay

import (
	"time"

	"github.com/jackc/pglogrepl"
)

// pingStorm recognises a server that is shutting down: it waits until everything it has sent is confirmed and asks for that again at each
// answer. In an outage of Kafka's that would last for ever, and the server's shutdown with it.
type pingStorm struct {
	walEnd      pglogrepl.LSN
	count       int
	first, last time.Time
}

// stopping counts a request and tells whether the storm has lasted too long.
func (p *pingStorm) stopping(now time.Time, walEnd pglogrepl.LSN) bool {
	if walEnd != p.walEnd || now.Sub(p.last) > time.Second {
		*p = pingStorm{walEnd: walEnd, first: now}
	}
	p.last = now
	p.count++
	return p.count >= 10 && now.Sub(p.first) >= 4*time.Second
}
