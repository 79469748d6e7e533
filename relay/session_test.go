package relay

import (
	"strings"
	"testing"

	"walpost/relay/inflight"
	"walpost/relay/internal/dbtest"
	"walpost/relay/internal/frame"
	"walpost/relay/replication"
)

// TestNoConfirmedPositionIsComputed: the relay confirms the end of a commit exactly as the server sent it. A position plus a length, or
// plus one, is higher than that: a transaction whose commit record begins there would be skipped at the next start. The start of the commit
// record is too low: the transaction would come again.
func TestNoConfirmedPositionIsComputed(t *testing.T) {
	t.Parallel()
	server := startSession(t)
	long := `"` + strings.Repeat("x", 20_000) + `"` // makes a computed position clearly wrong
	server.send(relationFrame(), beginFrame(0x1000), insertFrame(long), insertFrame(long), commitFrame(0x1000, 0x1030))
	dbtest.Until(t, "2 events", func() bool { return server.sink.count() == 2 })
	server.sink.ack(2)
	dbtest.Until(t, "a confirmation", func() bool { return server.last() != 0 })
	server.wantTold(0x1030)
	server.send(beginFrame(0x1030), insertFrame(long), commitFrame(0x1030, 0x1060)) // a commit record right after the previous one, as COMMIT PREPARED writes it
	dbtest.Until(t, "3 events", func() bool { return server.sink.count() == 3 })
	server.ask(0x1060)
	server.wantTold(0x1030)
	server.sink.ack(1)
	dbtest.Until(t, "the second transaction is confirmed", func() bool { return server.last() == 0x1060 })
	server.ask(0x2000) // nothing is in flight, so the server's position is confirmed as it is
	dbtest.Until(t, "the idle position is confirmed", func() bool { return server.last() >= 0x2000 })
	server.cancel()
	if err := server.wait(dbtest.Patience); err != replication.ErrLeave {
		t.Fatalf("ended with %v", err)
	}
	server.wantTold(0x1030, 0x1060, 0x2000)
}

// TestKeepaliveNeverConfirmsWhatIsPending: a keepalive has the server's position. It confirms nothing while an event is unacked, even if
// that came in the same read, and nothing inside a transaction, even if all its events so far are acked.
func TestKeepaliveNeverConfirmsWhatIsPending(t *testing.T) {
	t.Parallel()
	server := startSession(t)
	server.send(relationFrame(), beginFrame(0x1000), insertFrame("{}"), commitFrame(0x1000, 0x1030), frame.Keepalive(0x2000, 1))
	dbtest.Until(t, "an answer", func() bool { return len(server.told()) > 0 })
	server.ask(0x2000)
	server.wantTold(0)
	server.sink.ack(1)
	dbtest.Until(t, "the transaction is confirmed", func() bool { return server.last() != 0 })
	server.wantTold(0, 0x1030)
	server.ask(0x3000)
	dbtest.Until(t, "the idle position is confirmed", func() bool { return server.last() == 0x3000 })

	server.send(beginFrame(0x4000), insertFrame("{}"))
	dbtest.Until(t, "2 events", func() bool { return server.sink.count() == 2 })
	server.sink.ack(1)
	server.ask(0x4000)
	server.ask(0x5000)
	server.wantTold(0, 0x1030, 0x3000)
	server.send(commitFrame(0x4000, 0x4030))
	dbtest.Until(t, "the second transaction is confirmed", func() bool { return server.last() == 0x4030 })
}

// TestUndecodableRowIsNeverSkipped: a row that cannot be decoded stops the relay. Everything before it is confirmed, and the row and
// everything after it are not.
func TestUndecodableRowIsNeverSkipped(t *testing.T) {
	t.Parallel()
	server := startSession(t)
	server.sink.setAuto(true)
	server.send(relationFrame(), beginFrame(0x1000), insertFrame("{}"), commitFrame(0x1000, 0x1030))
	dbtest.Until(t, "it is confirmed", func() bool { return server.last() == 0x1030 })
	damaged := insertMessage("{}")
	server.send(beginFrame(0x2000), frame.WAL(damaged[:len(damaged)-1]), commitFrame(0x2000, 0x2030),
		beginFrame(0x3000), insertFrame("{}"), commitFrame(0x3000, 0x3030), frame.Keepalive(0x4000, 1))
	err := server.wait(dbtest.Patience)
	dbtest.WantPermanent(t, err, "decode insert at 0/2000", "created_at")
	server.wantTold(0x1030)
	if n := server.sink.count(); n != 1 {
		t.Errorf("%d events were published", n)
	}
}

// TestStopIsHeededWhileDataFlows: the relay stops also while the stream never pauses.
func TestStopIsHeededWhileDataFlows(t *testing.T) {
	t.Parallel()
	server := startSession(t)
	server.sink.setAuto(true)
	server.send(relationFrame())
	server.flow()
	dbtest.Until(t, "events", func() bool { return server.sink.count() > 10_000 })
	server.cancel()
	server.mustLeave()
}

// TestStopWaitsForTheTransactionAtHandOnly: a relay that is told to stop inside a transaction stops at its end, although more follows.
func TestStopWaitsForTheTransactionAtHandOnly(t *testing.T) {
	t.Parallel()
	server := startSession(t)
	server.sink.setAuto(true)
	server.send(relationFrame(), beginFrame(0x1000), insertFrame("{}"))
	dbtest.Until(t, "1 event", func() bool { return server.sink.count() == 1 })
	server.cancel()
	dbtest.Until(t, "the reader has a deadline", server.session.stream.Limited)
	server.send(insertFrame("{}"), commitFrame(0x1000, 0x1030))
	server.flow()
	server.mustLeave()
}

// TestOnlyTheConfirmerWritesToTheServer: only one goroutine writes statuses, whatever the server asks for, whatever the sink acks and
// however the session ends. So statuses cannot mix on the socket, and neither a full sink nor a busy reader delays them.
func TestOnlyTheConfirmerWritesToTheServer(t *testing.T) {
	t.Parallel()
	server := startSession(t)
	server.sink.setAuto(true)
	server.send(relationFrame())
	for i := range uint64(3) {
		at := 0x1000 * (i + 1)
		server.send(beginFrame(at), insertFrame("{}"), commitFrame(at, at+0x30))
		server.ask(at + 0x30)
	}
	server.cancel()
	if err := server.wait(dbtest.Patience); err != replication.ErrLeave {
		t.Fatalf("ended with %v", err)
	}
	if server.last() != 0x3030 {
		t.Errorf("the last status says %v", server.last())
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if len(server.writers) != 1 {
		t.Errorf("%d goroutines wrote to the server", len(server.writers))
	}
}

// TestSessionPosition: a new session does not confirm a position of an older session.
func TestSessionPosition(t *testing.T) {
	t.Parallel()
	s := session{tracker: inflight.NewTracker(inflight.NewBudget(1))}
	s.tracker.Idle(0x100)
	if got := s.position(); got != 0 {
		t.Errorf("before the window is this session's: %v", got)
	}
	s.windowBegun.Store(true)
	if got := s.position(); got != 0x100 {
		t.Errorf("then: %v", got)
	}
}
