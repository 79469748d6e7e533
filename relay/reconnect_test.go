package relay

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
)

// TestLostConnectionIsMadeAnew: when the server or the network ends the session, the relay reconnects, and unconfirmed events come again.
// They come only after the sink has acked what it held.
func TestLostConnectionIsMadeAnew(t *testing.T) {
	t.Parallel()
	t.Run("ended by the server", func(t *testing.T) {
		f := newFixture(t)
		madeAnew(t, f, f.kill)
	})
	t.Run("cut", func(t *testing.T) {
		f := newFixture(t)
		network := f.behindProxy()
		madeAnew(t, f, network.Cut)
	})
}

func madeAnew(t *testing.T, f *fixture, lose func()) {
	f.sink.setAuto(false)
	r := f.start()
	f.Insert(3)
	dbtest.Until(t, "3 events", func() bool { return f.sink.count() == 3 })
	before := f.walsender()
	lose()
	r.await("the relay leads again", func() bool { return f.active() && f.walsender() != before })
	f.Insert(1)
	time.Sleep(200 * time.Millisecond) // there is nothing to wait for: nothing may happen
	if got := f.sink.count(); got != 3 {
		t.Fatalf("%d events before the sink had acked what it held of the old session", got)
	}
	f.sink.setAuto(true)
	dbtest.Until(t, "the redelivery", func() bool { return f.sink.count() == 7 })
	ids := f.sink.ids()
	if want := f.IDs(); !slices.Equal(ids[3:], want) || !slices.Equal(ids[:3], want[:3]) {
		t.Errorf("published %q of %q", ids, want)
	}
	r.stop()
}

// TestRelayRefusedBetweenSessions: an event of an ended session that is refused while the next session waits for the sink stops the relay.
func TestRelayRefusedBetweenSessions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sink.setAuto(false)
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	f.kill()
	dbtest.Until(t, "the relay leads again", func() bool { return f.active() })
	f.sink.acks.Rejected(0, errors.New("event 1: no topic takes it"))
	if err := r.wait(); err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "no topic takes it") {
		t.Fatalf("ended with %v", err)
	}
}

// TestRelayLeavesBetweenSessions: while a new session waits for the sink, a stop does not wait for acks.
func TestRelayLeavesBetweenSessions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sink.setAuto(false)
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	f.kill()
	dbtest.Until(t, "the relay leads again", func() bool { return f.active() && r.relay.State().Role == Leader })
	begun := time.Now()
	r.stop()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the stop took %v", took)
	}
}
