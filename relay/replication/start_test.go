package replication

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/internal/pgtest"
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

// slowWriter is a connection whose writes take long, as on a busy machine.
type slowWriter struct{ net.Conn }

func (c slowWriter) Write(p []byte) (int, error) {
	time.Sleep(100 * time.Millisecond) // pgconn begins to read in the background after 15 ms
	return c.Conn.Write(p)
}

// A stream begins also if pgconn reads in the background: it must not take the server's answer.
func TestStartAfterASlowWrite(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Connect(t)
	for _, sql := range []string{"create publication walpost for all tables", "select pg_create_logical_replication_slot('" + db.Name + "', 'pgoutput')"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := pgconn.ParseConfig(db.DSN)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["replication"] = "database"
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return slowWriter{c}, err
	}
	for range 4 { // not each time a read is left over
		w := &Walsender{notices: &notices{}}
		if w.conn, err = pgconn.ConnectConfig(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if _, err := w.query(t.Context(), "IDENTIFY_SYSTEM", 4); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		s, err := w.Start(ctx, db.Name, "walpost", false)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		db.Exec(t, "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '"+db.Name+"'")
		s.Close()
		for busy := true; busy; {
			if err := conn.QueryRow(t.Context(), "select active from pg_replication_slots where slot_name = $1", db.Name).Scan(&busy); err != nil {
				t.Fatal(err)
			}
		}
	}
}
