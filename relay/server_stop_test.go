package relay

import (
	"context"
	"testing"
	"time"

	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
)

// TestServerStops: a server that shuts down does not wait for Kafka, and the relay waits for the server.
func TestServerStops(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		budget int64
		auto   bool
		within time.Duration
	}{
		"all acked":             {budget: 1 << 20, auto: true, within: 3 * time.Second},
		"an unacked event":      {budget: 1 << 20, within: 10 * time.Second}, // the reader reads, and sees the requests for statuses
		"the budget is used up": {budget: 1000, within: 12 * time.Second},    // the reader waits, and probe checks the server
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t, pgtest.Options{})
			f := fixtureOn(t, server.DSN("postgres"))
			f.cfg.MaxInFlightBytes = c.budget
			f.sink.setAuto(c.auto)
			r := f.start()
			f.Insert(100)
			dbtest.Until(t, "events", func() bool { return f.sink.count() > 1 })
			f.Conn.Close(t.Context())
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := server.Stop(ctx, pgtest.Fast); err != nil {
				t.Fatal(err)
			}
			took := time.Since(begun)
			t.Logf("the server stopped in %v", took)
			if took > c.within {
				t.Errorf("the server's stop took %v", took)
			}
			dbtest.Until(t, "the relay waits", func() bool { return r.relay.State().Role == Waiting })
			if err := server.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.sink.setAuto(true)
			dbtest.Until(t, "the relay leads again and has sent all", func() bool { return r.relay.State().Role == Leader && f.sink.distinct() == 100 })
			r.stop()
		})
	}
}

// TestServerCrashes: after a crash all committed events arrive, and the first deliveries are in order.
func TestServerCrashes(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	f := fixtureOn(t, server.DSN("postgres"))
	r := f.start()
	f.Insert(10)
	dbtest.Until(t, "10 events", func() bool { return f.sink.count() >= 10 })
	server.Kill()
	dbtest.Until(t, "the relay waits", func() bool { return r.relay.State().Role == Waiting })
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.Reconnect()
	f.Insert(5)
	dbtest.Until(t, "15 events", func() bool { return f.sink.distinct() == 15 })
	r.stop()
}
