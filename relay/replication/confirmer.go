package replication

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/relay/internal/wake"
)

// StatusGap is the shortest time between two statuses that report progress or answer the server.
const StatusGap = 100 * time.Millisecond

const (
	statusPeriod = 5 * time.Second  // longest time between two statuses
	sendLimit    = 10 * time.Second // a connection that does not accept a status within this time is dead
)

// Confirmer confirms positions to the server by statuses. Only it writes to the replication connection. It has a goroutine and a timer of
// its own, so that a full budget or a slow Kafka never ends the session.
//
// Each timed status asks for a reply. A walsender replies at once unless it is busy. [Silence] finds out why a walsender sends nothing.
type Confirmer struct {
	send     func(p []byte, limit time.Duration) error
	position func() pglogrepl.LSN    // returns what may be confirmed; it never falls
	told     func(lsn pglogrepl.LSN) // called when a higher position was sent
	fail     func(err error)         // called when the session cannot go on, by the confirmer or by Silence
	progress <-chan struct{}         // has a token when position moved
	period   time.Duration

	pings   chan struct{} // has a token when the server asked for a status
	heard   atomic.Int64  // when the reader last read from the server, ns since 1970
	held    atomic.Bool   // the reader does not read, so that silence means nothing
	goodbye chan bool     // ends the confirmer; true: with a last status and CopyDone
	done    chan struct{} // closed when the confirmer has ended

	buf  []byte
	last pglogrepl.LSN // the position that was sent last
	sent time.Time     // when a status was sent last
}

// NewConfirmer returns a confirmer of the position that position returns, which must never fall. The confirmer sends a status soon after
// progress has a token, and once per period. It calls told with each higher position that it has sent. If the connection does not accept a
// status, it interrupts s, which ends the session.
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

// Ping makes the confirmer send a status soon, because the server asked for one.
func (c *Confirmer) Ping() { wake.Signal(c.pings) }

// Holding reports whether the reader has stopped reading, so that the server's silence means nothing.
func (c *Confirmer) Holding() bool { return c.held.Load() }

// Hear notes that something was read from the server.
func (c *Confirmer) Hear() { c.heard.Store(time.Now().UnixNano()) }

// Hold notes that the reader stops reading, or reads again.
func (c *Confirmer) Hold(on bool) {
	c.Hear()
	c.held.Store(on)
}

// Silence returns for how long the server has sent nothing to a reader that reads; 0 while the reader does not read.
func (c *Confirmer) Silence() time.Duration {
	if c.held.Load() {
		return 0
	}
	return time.Since(time.Unix(0, c.heard.Load()))
}

// End ends the confirmer and waits until it has ended. With goodbye the confirmer first sends a last status and CopyDone.
func (c *Confirmer) End(goodbye bool) {
	select {
	case c.goodbye <- goodbye:
	default: // End was called before
	}
	<-c.done
}

// Run confirms until End is called or the connection fails.
func (c *Confirmer) Run() {
	defer close(c.done)
	tick := time.NewTicker(c.period)
	defer tick.Stop()
	due := time.NewTimer(0) // when a postponed status is due
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

// status sends one standby status update.
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

// leave sends a last status, and CopyDone, which ends the stream. It ignores errors: if the server does not get the last confirmation, it
// sends these events again.
func (c *Confirmer) leave() {
	if c.status(false) == nil {
		c.send([]byte{'c', 0, 0, 0, 4}, sendLimit)
	}
}
