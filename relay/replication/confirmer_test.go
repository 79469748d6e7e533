package replication

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/relay/internal/wake"
)

// sentStatus is a status as the server reads it.
type sentStatus struct {
	at                  time.Duration // since the beginning
	write, flush, apply pglogrepl.LSN
	reply               bool
}

// bench runs a confirmer in a synctest bubble and records what it sends.
type bench struct {
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

func startConfirmer(t *testing.T) *bench {
	b := &bench{progress: make(chan struct{}, 1), begun: time.Now()}
	s, _, _ := pipe(t)
	b.Confirmer = NewConfirmer(s, func() pglogrepl.LSN { return pglogrepl.LSN(b.position.Load()) }, b.progress, statusPeriod,
		func(lsn pglogrepl.LSN) { b.mu.Lock(); b.told = append(b.told, lsn); b.mu.Unlock() })
	b.send = b.take
	b.fail = func(err error) { b.mu.Lock(); b.failed = err; b.mu.Unlock() }
	go b.Run()
	t.Cleanup(func() { b.End(false) }) // also of a test that fails: a bubble has to be empty at its end
	return b
}

func (b *bench) take(p []byte, _ time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sendErr != nil {
		return b.sendErr
	}
	if p[0] == 'c' {
		b.goodbyes++
		return nil
	}
	if p[0] != 'd' || len(p) != 39 || binary.BigEndian.Uint32(p[1:]) != 38 || p[5] != 'r' {
		return errors.New("not a status")
	}
	lsn := func(at int) pglogrepl.LSN { return pglogrepl.LSN(binary.BigEndian.Uint64(p[at:])) }
	if clock := time.UnixMicro(int64(binary.BigEndian.Uint64(p[30:])) + postgresEpoch); time.Until(clock).Abs() > time.Microsecond {
		return errors.New("not the time")
	}
	b.statuses = append(b.statuses, sentStatus{time.Since(b.begun), lsn(6), lsn(14), lsn(22), p[38] == 1})
	return nil
}

func (b *bench) advance(lsn uint64) {
	b.position.Store(lsn)
	wake.Signal(b.progress)
}

// look waits until the confirmer has nothing to do and returns what it did so far.
func (b *bench) look() (statuses []sentStatus, told []pglogrepl.LSN, failed error) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.statuses, b.told, b.failed
}

// TestProgressIsConfirmedAtOnce: the first progress is told at once, and while more comes all the time, a tenth of a second later at most.
func TestProgressIsConfirmedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startConfirmer(t)
		time.Sleep(time.Second)
		b.advance(0x10)
		if sent, _, _ := b.look(); len(sent) != 1 || sent[0] != (sentStatus{time.Second, 0x10, 0x10, 0x10, false}) {
			t.Fatalf("first progress: %+v", sent)
		}
		for i := range uint64(99) { // 99 ms of progress each millisecond
			time.Sleep(time.Millisecond)
			b.advance(0x20 + i)
		}
		if sent, _, _ := b.look(); len(sent) != 1 {
			t.Fatalf("progress was not held back: %+v", sent[1:])
		}
		time.Sleep(time.Millisecond)
		if sent, _, _ := b.look(); len(sent) != 2 || sent[1].flush != 0x20+98 {
			t.Fatalf("progress held back: %+v", sent)
		}
		wake.Signal(b.progress) // but nothing new
		time.Sleep(time.Second)
		sent, told, _ := b.look()
		if len(sent) != 2 {
			t.Errorf("a status that says nothing new: %+v", sent[2:])
		}
		if len(told) != 2 || told[1] != 0x20+98 {
			t.Errorf("told %v", told)
		}
		b.End(false)
	})
}

// TestStatusGoesOutWhateverElseHappens: it does each period, asks for a reply, and says 0 until something is known.
func TestStatusGoesOutWhateverElseHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startConfirmer(t)
		for range 3 {
			b.Hear()
			time.Sleep(statusPeriod)
		}
		sent, told, _ := b.look()
		for i, s := range sent {
			if s != (sentStatus{at: time.Duration(i+1) * statusPeriod, reply: true}) {
				t.Errorf("status %d: %+v", i, s)
			}
		}
		if len(sent) != 3 || len(told) != 0 {
			t.Errorf("%d statuses, told %v", len(sent), told)
		}
		b.End(false)
	})
}

// TestConfirmerPings: a request is answered at once, and a storm of them ten times a second.
func TestConfirmerPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startConfirmer(t)
		time.Sleep(time.Second)
		wake.Signal(b.pings)
		if sent, _, _ := b.look(); len(sent) != 1 || sent[0].at != time.Second {
			t.Fatalf("a request was not answered at once: %+v", sent)
		}
		for range 1000 {
			time.Sleep(time.Millisecond)
			wake.Signal(b.pings)
		}
		if sent, _, _ := b.look(); len(sent) < 10 || len(sent) > 12 {
			t.Errorf("%d answers to a second's storm", len(sent)-1)
		}
		b.End(false)
	})
}

// TestConfirmerSilence: a server that answers nothing for three periods is gone, unless the reader does not listen.
func TestConfirmerSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startConfirmer(t)
		b.Hold(true)
		time.Sleep(time.Minute)
		if sent, _, failed := b.look(); failed != nil || len(sent) != 12 {
			t.Fatalf("held: %v, %d statuses", failed, len(sent))
		}
		b.Hold(false)
		time.Sleep(silentPeriods*statusPeriod - time.Millisecond)
		if _, _, failed := b.look(); failed != nil {
			t.Fatalf("too early: %v", failed)
		}
		time.Sleep(2 * time.Millisecond)
		if _, _, failed := b.look(); failed == nil || !strings.Contains(failed.Error(), "said nothing for 15s") {
			t.Fatalf("silence: %v", failed)
		}
		b.End(true) // after its end it says no goodbye
		if b.goodbyes != 0 {
			t.Error("a goodbye on a dead connection")
		}
	})
}

func TestLastAcksAreConfirmedBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startConfirmer(t)
		b.advance(0x10)
		synctest.Wait()
		b.position.Store(0x20) // acked, not yet told
		b.End(true)
		if sent, _, _ := b.look(); sent[len(sent)-1].flush != 0x20 || b.goodbyes != 1 {
			t.Errorf("at the end: %+v, %d goodbyes", sent, b.goodbyes)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := startConfirmer(t)
		b.mu.Lock()
		b.sendErr = errors.New("broken pipe")
		b.mu.Unlock()
		b.advance(0x10)
		if _, told, failed := b.look(); failed == nil || len(told) != 0 {
			t.Errorf("a failed write: %v, told %v", failed, told)
		}
		b.End(true)
	})
}
