package replication

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/relay/internal/dbtest"
)

// TestStartCommand: any name that Postgres accepts arrives unchanged; that of a publication is an identifier in a literal.
func TestStartCommand(t *testing.T) {
	for _, c := range []struct {
		publication string
		binary      bool
		want        string
	}{
		{"walpost", false, `START_REPLICATION SLOT "shop" LOGICAL 0/0 (proto_version '1', publication_names '"walpost"')`},
		{"walpost", true, `START_REPLICATION SLOT "shop" LOGICAL 0/0 (proto_version '1', publication_names '"walpost"', binary 'true')`},
		{`My "o'clock", mine`, false, `START_REPLICATION SLOT "shop" LOGICAL 0/0 (proto_version '1', publication_names '"My ""o''clock"", mine"')`},
	} {
		if got := startCommand("shop", c.publication, c.binary); got != c.want {
			t.Errorf("publication %s: %s, want %s", c.publication, got, c.want)
		}
	}
}

// slowWriter is a connection whose writes return late while slow is true, when the server has answered already, as on a busy machine.
type slowWriter struct {
	net.Conn
	slow *atomic.Bool
}

func (c slowWriter) Write(p []byte) (int, error) {
	if c.slow.Load() {
		defer time.Sleep(100 * time.Millisecond) // pgconn begins to read in the background after 15 ms
	}
	return c.Conn.Write(p)
}

// A stream begins also if pgconn reads in the background: it must not take the server's answer.
func TestStartAfterASlowWrite(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t)
	d.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", d.Slot)
	cfg, err := pgconn.ParseConfig(d.DSN)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["replication"] = "database"
	dial, slow := cfg.DialFunc, new(atomic.Bool)
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return slowWriter{c, slow}, err
	}
	w := &Walsender{notices: &notices{}}
	if w.conn, err = pgconn.ConnectConfig(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	slow.Store(true)
	if _, err := w.query(t.Context(), "IDENTIFY_SYSTEM", 4); err != nil {
		t.Fatal(err)
	}
	slow.Store(false)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := w.Start(ctx, d.Slot, "walpost", false)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}
