package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/internal/pgtest"
	"walpost/internal/testenv/proxy"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
)

// TestLookBehindABalancer: a balancer may lead a check of a walsender to another server. If the walsender is not found there, that means
// nothing.
func TestLookBehindABalancer(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t, pgtest.Options{})
	standby, stranger := primary.Standby(t), pgtest.New(t)
	dsn := primary.DSN("postgres")
	own, second, strange := hostOf(t, dsn), hostOf(t, standby.DSN("postgres")), hostOf(t, stranger.DSN)
	db := &pgtest.DB{DSN: dsn}
	db.Exec(t, "create role humble login", "revoke execute on function pg_control_system() from public")

	w, err := replication.Connect(t.Context(), dsn, pgerror.Names{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	srv, err := w.Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	there := srv.WalsenderID(w)
	gone := there
	gone.PID = 1
	for name, c := range map[string]struct {
		id      postgres.WalsenderID
		led     []string // where the connections lead; later ones lead where the last one does
		present bool
		other   bool // the walsender's server is never reached, so the result is unknown
		humble  bool // the role may not read the system identifier
	}{
		"there":                      {there, []string{own}, true, false, false},
		"gone":                       {gone, []string{own}, false, false, false},
		"gone, and a humble role":    {gone, []string{own}, false, false, true},
		"led to a standby":           {there, []string{second}, false, true, false},
		"led to another cluster":     {there, []string{strange}, false, true, false},
		"led astray twice":           {there, []string{second, strange, own}, true, false, false},
		"gone, and led astray twice": {gone, []string{strange, second, own}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			balancer := proxy.StartRouter(t, func([]byte) string { return c.led[min(int(n.Add(1)), len(c.led))-1] })
			addr, err := net.ResolveTCPAddr("tcp", balancer.Address())
			if err != nil {
				t.Fatal(err)
			}
			limit := 30 * time.Second
			if c.other {
				limit = time.Second // the check connects again for so long
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			connString := func() string {
				if c.humble {
					return strings.Replace(dsn, "://postgres", "://humble", 1)
				}
				return dsn
			}
			activity, err := replication.ActivityAt(connString, addr, c.id)(ctx)
			if c.other {
				if err == nil || !errors.Is(err, postgres.ErrOtherServer) && !pgconn.Timeout(err) && ctx.Err() == nil || n.Load() < 2 {
					t.Errorf("after %d connections: %v, %v", n.Load(), activity, err)
				}
				return
			}
			if err != nil || activity.Present != c.present || int(n.Load()) != len(c.led) {
				t.Errorf("after %d connections: %v, %v", n.Load(), activity, err)
			}
		})
	}
}
