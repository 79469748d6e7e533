package replication

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/relay/internal/wake"
)

// sentStatus is a status as the server receives it.
type sentStatus struct {
	at                  time.Duration // since the beginning
	write, flush, apply pglogrepl.LSN
	reply               bool
}

// recordedConfirmer runs a confirmer in a synctest bubble and records what it sends.
type recordedConfirmer struct {
	*Confirmer
	position atomic.Uint64
	progress chan struct{}
	begun    time.Time

	mu       sync.Mutex
	statuses []sentStatus
	goodbyes int
	told     []pglogrepl.LSN
	failed   error
	sendErr  error
}

func startConfirmer(t *testing.T) *recordedConfirmer {
	c := &recordedConfirmer{progress: make(chan struct{}, 1), begun: time.Now()}
	s, _, _ := pipe(t)
	c.Confirmer = NewConfirmer(s, func() pglogrepl.LSN { return pglogrepl.LSN(c.position.Load()) }, c.progress, statusPeriod,
		func(lsn pglogrepl.LSN) { c.mu.Lock(); c.told = append(c.told, lsn); c.mu.Unlock() })
	c.send = c.take
	c.fail = func(err error) { c.mu.Lock(); c.failed = err; c.mu.Unlock() }
	go c.Run()
	t.Cleanup(func() { c.End(false) }) // also if the test fails: a bubble has to be empty at its end
	return c
}

func (c *recordedConfirmer) take(p []byte, _ time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sendErr != nil {
		return c.sendErr
	}
	if p[0] == 'c' {
		c.goodbyes++
		return nil
	}
	if p[0] != 'd' || len(p) != 39 || binary.BigEndian.Uint32(p[1:]) != 38 || p[5] != 'r' {
		return errors.New("not a status")
	}
	lsn := func(at int) pglogrepl.LSN { return pglogrepl.LSN(binary.BigEndian.Uint64(p[at:])) }
	if clock := time.UnixMicro(int64(binary.BigEndian.Uint64(p[30:])) + postgresEpoch); time.Until(clock).Abs() > time.Microsecond {
		return errors.New("not the time")
	}
	c.statuses = append(c.statuses, sentStatus{time.Since(c.begun), lsn(6), lsn(14), lsn(22), p[38] == 1})
	return nil
}

func (c *recordedConfirmer) advance(lsn uint64) {
	c.position.Store(lsn)
	wake.Signal(c.progress)
}

// look waits until the confirmer is idle, and returns what it has done so far.
func (c *recordedConfirmer) look() (statuses []sentStatus, told []pglogrepl.LSN, failed error) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.statuses, c.told, c.failed
}

// TestProgressIsConfirmedAtOnce: the first progress is confirmed at once. While more progress follows, it is confirmed within a tenth of a
// second.
func TestProgressIsConfirmedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startConfirmer(t)
		time.Sleep(time.Second)
		c.advance(0x10)
		if sent, _, _ := c.look(); len(sent) != 1 || sent[0] != (sentStatus{time.Second, 0x10, 0x10, 0x10, false}) {
			t.Fatalf("first progress: %+v", sent)
		}
		for i := range uint64(99) { // 99 ms of progress each millisecond
			time.Sleep(time.Millisecond)
			c.advance(0x20 + i)
		}
		if sent, _, _ := c.look(); len(sent) != 1 {
			t.Fatalf("progress was not held back: %+v", sent[1:])
		}
		time.Sleep(time.Millisecond)
		if sent, _, _ := c.look(); len(sent) != 2 || sent[1].flush != 0x20+98 {
			t.Fatalf("progress held back: %+v", sent)
		}
		wake.Signal(c.progress) // but nothing new
		time.Sleep(time.Second)
		sent, told, _ := c.look()
		if len(sent) != 2 {
			t.Errorf("a status that says nothing new: %+v", sent[2:])
		}
		if len(told) != 2 || told[1] != 0x20+98 {
			t.Errorf("told %v", told)
		}
		c.End(false)
	})
}

// TestStatusGoesOutWhateverElseHappens: each period the confirmer sends a status that asks for a reply. Its position is 0 until one is
// known.
func TestStatusGoesOutWhateverElseHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startConfirmer(t)
		for range 3 {
			c.Hear()
			time.Sleep(statusPeriod)
		}
		sent, told, _ := c.look()
		for i, s := range sent {
			if s != (sentStatus{at: time.Duration(i+1) * statusPeriod, reply: true}) {
				t.Errorf("status %d: %+v", i, s)
			}
		}
		if len(sent) != 3 || len(told) != 0 {
			t.Errorf("%d statuses, told %v", len(sent), told)
		}
		c.End(false)
	})
}

// TestConfirmerPings: a request is answered at once, and many requests ten times a second.
func TestConfirmerPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startConfirmer(t)
		time.Sleep(time.Second)
		wake.Signal(c.pings)
		if sent, _, _ := c.look(); len(sent) != 1 || sent[0].at != time.Second {
			t.Fatalf("a request was not answered at once: %+v", sent)
		}
		for range 1000 {
			time.Sleep(time.Millisecond)
			wake.Signal(c.pings)
		}
		if sent, _, _ := c.look(); len(sent) < 10 || len(sent) > 12 {
			t.Errorf("%d answers to a second of requests", len(sent)-1)
		}
		c.End(false)
	})
}

// TestConfirmerSilence: silence counts from the last message, and only while the reader reads. It does not end the confirmer: a walsender
// reads its statuses when it has finished its work.
func TestConfirmerSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startConfirmer(t)
		c.Hold(true)
		time.Sleep(time.Minute)
		if sent, _, failed := c.look(); failed != nil || len(sent) != 12 || c.Silence() != 0 {
			t.Fatalf("held: %v, %d statuses, silence %v", failed, len(sent), c.Silence())
		}
		c.Hold(false)
		time.Sleep(time.Minute)
		if sent, _, failed := c.look(); failed != nil || len(sent) != 24 || c.Silence() != time.Minute {
			t.Fatalf("silent: %v, %d statuses, silence %v", failed, len(sent), c.Silence())
		}
		c.Hear()
		if got := c.Silence(); got != 0 {
			t.Errorf("silence of %v after a message", got)
		}
		c.End(false)
	})
}

func TestLastAcksAreConfirmedBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startConfirmer(t)
		c.advance(0x10)
		synctest.Wait()
		c.position.Store(0x20) // acked, not yet confirmed
		c.End(true)
		if sent, _, _ := c.look(); sent[len(sent)-1].flush != 0x20 || c.goodbyes != 1 {
			t.Errorf("at the end: %+v, %d goodbyes", sent, c.goodbyes)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := startConfirmer(t)
		c.mu.Lock()
		c.sendErr = errors.New("broken pipe")
		c.mu.Unlock()
		c.advance(0x10)
		if _, told, failed := c.look(); failed == nil || len(told) != 0 {
			t.Errorf("a failed write: %v, told %v", failed, told)
		}
		c.End(true)
	})
}
