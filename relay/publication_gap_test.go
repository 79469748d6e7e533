package relay

import (
	"fmt"
	"strings"
	"testing"

	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
)

// TestPublicationGap: a part of the WAL for which there was no publication stops the relay, by an error up to 17 and by a warning since
// 18, and what precedes it is confirmed.
func TestPublicationGap(t *testing.T) {
	for _, major := range []int{0, 18} {
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) {
			f := fixtureOn(t, pgtest.NewMajor(t, major).DSN)
			f.start().stop()
			f.Insert(1)
			f.Exec("drop publication walpost")
			f.Insert(1)
			f.Exec("create publication walpost for table walpost.outbox with (publish = 'insert')")
			f.Insert(1)
			err := f.launch().wait()
			if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "publication walpost did not exist") {
				t.Fatalf("ended with %v", err)
			}
			if n := f.sink.count(); n > 1 {
				t.Errorf("%d events, only the first precedes the gap", n)
			}
		})
	}
}

// TestLostSlot: a slot that Postgres gave up stops the relay, and the way out that it names is the whole of it.
func TestLostSlot(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB", "min_wal_size": "32MB"}})
	f := fixtureOn(t, server.DSN("postgres"))
	f.start().stop()
	for range 4 {
		f.Exec("create table if not exists busy (t text)")
		f.Exec("insert into busy select repeat('x', 1000) from generate_series(1, 20000)")
		f.Exec("select pg_switch_wal()")
		f.Exec("checkpoint")
	}
	err := f.launch().wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "is lost") {
		t.Fatalf("ended with %v", err)
	}
	f.Insert(1)
	for _, sql := range []string{"SELECT pg_drop_replication_slot('" + f.cfg.Slot + "')", "DELETE FROM walpost.relay_state WHERE slot = '" + f.cfg.Slot + "'"} {
		if !strings.Contains(err.Error(), sql) {
			t.Fatalf("no %q in: %v", sql, err)
		}
		f.Exec(sql)
	}
	r := f.start()
	dbtest.Until(t, "the row", func() bool { return f.sink.count() == 1 })
	r.stop()
}
