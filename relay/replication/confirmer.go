package replication

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/relay/internal/wake"
)

// StatusGap is how often progress and replies are told at most.
const StatusGap = 100 * time.Millisecond

const (
	statusPeriod = 5 * time.Second  // a status goes out at least so often
	sendLimit    = 10 * time.Second // a connection that does not take a status for so long is dead
)

// Confirmer tells the server how far it may forget. It is the only writer of the replication connection, on a goroutine and a timer of
// its own: a full budget or a slow Kafka never costs the session.
//
// Each timed status asks for a reply, which a walsender gives at once unless it is at work. What its silence means is for [Silence] to find out.
type Confirmer struct {
	send     func(p []byte, limit time.Duration) error
	position func() pglogrepl.LSN    // what may be confirmed: never falls
	told     func(lsn pglogrepl.LSN) // called when a higher position was sent
	fail     func(err error)         // called when the session cannot go on; the confirmer ends by then
	progress <-chan struct{}         // has a token when position moved
	period   time.Duration

	pings   chan struct{} // has a token when the server asked for a status
	heard   atomic.Int64  // when the reader last heard of the server, ns since 1970
	held    atomic.Bool   // the reader does not listen, so that silence means nothing
	goodbye chan bool     // ends the confirmer; true: with a last status and CopyDone
	done    chan struct{} // closed at its end

	buf  []byte
	last pglogrepl.LSN // what was sent last
	sent time.Time     // when a status was sent last
}

// NewConfirmer returns a confirmer of what position returns, which never falls. It sends a status soon after progress has a token, and each
// period. It calls told with each higher position that was sent. The session ends, by an interruption of s, when the connection takes no
// status.
func NewConfirmer(s *Stream, position func() pglogrepl.LSN, progress <-chan struct{}, period time.Duration, told func(pglogrepl.LSN)) *Confirmer {
	c := &Confirmer{
		send:     s.send,
		position: position,
		told:     told,
		fail:     s.Interrupt,
		progress: progress,
		period:   period,
		pings:    make(chan struct{}, 1),
		goodbye:  make(chan bool, 1),
		done:     make(chan struct{}),
	}
	c.Hear()
	return c
}

// Ping makes a status go out soon: the server asked for one.
func (c *Confirmer) Ping() { wake.Signal(c.pings) }

// Holding reports whether the reader does not listen, so that the server's silence means nothing.
func (c *Confirmer) Holding() bool { return c.held.Load() }

// Hear notes that the server was heard.
func (c *Confirmer) Hear() { c.heard.Store(time.Now().UnixNano()) }

// Hold notes that the reader stops listening, or listens again.
func (c *Confirmer) Hold(on bool) {
	c.Hear()
	c.held.Store(on)
}

// Silence returns for how long the server has said nothing to a reader that listens.
func (c *Confirmer) Silence() time.Duration {
	if c.held.Load() {
		return 0
	}
	return time.Since(time.Unix(0, c.heard.Load()))
}

// End ends the confirmer and waits for it. With a goodbye it confirms a last time and ends the stream from this side.
func (c *Confirmer) End(goodbye bool) {
	select {
	case c.goodbye <- goodbye:
	default: // told before
	}
	<-c.done
}

// Run confirms until End is called or the connection fails.
func (c *Confirmer) Run() {
	defer close(c.done)
	tick := time.NewTicker(c.period)
	defer tick.Stop()
	due := time.NewTimer(0) // when a status that was put off is due
	<-due.C
	asked, pending := false, false
	for {
		var err error
		select {
		case goodbye := <-c.goodbye:
			if goodbye {
				c.leave()
			}
			return
		case <-tick.C:
			err = c.status(true)
			asked = false
		case <-c.pings:
			asked = true
		case <-c.progress:
		case <-due.C:
			pending = false
		}
		if err == nil && (asked || c.position() != c.last) {
			if wait := StatusGap - time.Since(c.sent); wait <= 0 {
				err = c.status(false)
				asked = false
			} else if !pending {
				due.Reset(wait)
				pending = true
			}
		}
		if err != nil {
			c.fail(fmt.Errorf("send status: %w", err))
			return
		}
	}
}

// status sends one standby status.
func (c *Confirmer) status(reply bool) error {
	lsn := c.position()
	c.buf = appendStatus(c.buf[:0], lsn, time.Now(), reply)
	if err := c.send(c.buf, sendLimit); err != nil {
		return err
	}
	c.sent = time.Now()
	if lsn != c.last {
		c.last = lsn
		c.told(lsn)
	}
	return nil
}

// leave confirms a last time and ends the stream. Errors are of no use any more: what the server did not hear, it sends again.
func (c *Confirmer) leave() {
	if c.status(false) == nil {
		c.send([]byte{'c', 0, 0, 0, 4}, sendLimit)
	}
}
