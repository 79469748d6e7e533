package relay

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"walpost/internal/pgtest"
	"walpost/internal/testenv/long"
	"walpost/internal/testenv/proxy"
	"walpost/relay/internal/dbtest"
)

// One host name leads to a primary and to a standby. If a connection reaches the standby, nothing is created or decided there, and the
// relay waits until all connections reach the primary. Otherwise a standby's refusal to stream would look like a dropped or lost slot, or
// like a server that is too old. And since 16 a first start would create its slot on the standby.
func TestOneNameForPrimaryAndStandby(t *testing.T) {
	t.Parallel() // mostly waiting
	for _, major := range long.Or([]int{pgtest.NewestMajor}, []int{pgtest.OldestMajor, pgtest.NewestMajor}) {
		for name, astray := range map[string]struct {
			streams  bool   // replication connections reach the standby at first
			ordinary string // where the first ordinary connections lead: P or S
		}{
			"replication": {streams: true},
			"others":      {ordinary: "PSSPPS"}, // among them the watcher's, the one with the lock, and the one that reads the rows
		} {
			t.Run(fmt.Sprintf("%s, Postgres %d", name, major), func(t *testing.T) {
				t.Parallel()
				primary := pgtest.Start(t, pgtest.Options{Major: major})
				f := fixtureOn(t, primary.DSN("postgres"))
				f.Insert(1)
				standby := primary.Standby(t)
				hosts := map[bool]string{false: hostOf(t, primary.DSN("postgres")), true: hostOf(t, standby.DSN("postgres"))}
				var streams atomic.Bool
				var ordinary atomic.Int64
				streams.Store(astray.streams)
				name := proxy.StartRouter(t, func(first []byte) string {
					if bytes.Contains(first, []byte("replication\x00database")) {
						return hosts[streams.Load()]
					}
					n := int(ordinary.Add(1)) - 1
					return hosts[n < len(astray.ordinary) && astray.ordinary[n] == 'S']
				})
				f.cfg.ConnString = strings.Replace(f.DSN, hosts[false], name.Address(), 1)
				beyond := &dbtest.Database{T: t, DSN: standby.DSN("postgres")}
				beyond.Reconnect()
				within := &dbtest.Database{T: t, DSN: f.DSN}
				within.Reconnect()
				f.cfg.OpenSink = func(ctx context.Context, acks Acks) (Sink, error) {
					const locks = "select (select count(*) from pg_locks where locktype = 'advisory') + (select count(*) from walpost.relay_state where phase = 'streaming')"
					if within.Ask("select ("+locks+")::text") == "0" {
						t.Error("a first start without its lock, which is on the standby")
					}
					return f.sink.open(ctx, acks)
				}
				waits := func(r *running) {
					t.Helper()
					r.await("the relay waits for the primary", func() bool {
						s := r.relay.State()
						return s.Role == Waiting && strings.Contains(s.Reason, "a standby") && strings.Contains(s.Reason, "name only the primary")
					})
				}

				r := f.launch()
				if astray.streams {
					waits(r)
					if f.Slots() != 0 || f.Phase() != "" {
						t.Errorf("%d slots, phase %q on the primary", f.Slots(), f.Phase())
					}
					streams.Store(false)
				}
				r.await("the relay leads", func() bool { return r.relay.State().Role == Leader })
				if astray.streams {
					streams.Store(true)
					f.Insert(1)
					f.kill()
					waits(r)
					streams.Store(false)
				}
				f.Insert(1)
				r.await("all events", func() bool { return f.sink.distinct() == len(f.IDs()) })
				r.stop()
				if n := beyond.Slots(); n != 0 {
					t.Errorf("%d slots on the standby", n)
				}
			})
		}
	}
}

func hostOf(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
