package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

// walpost waits for problems that time can cure, and shows that: /readyz has a
// code, and /api/status and the log name the object, the cause and the cure.
// /livez is 200, and nothing is created. When the problem is cured, the relay
// streams.
func TestWaits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  []string // {role} is a role with the relay's rights
		take string   // SQL that makes the relay wait
		back string
		code string
		says string
		cure string
	}{
		"broker's name unknown": {
			env:  []string{"WALPOST_KAFKA_BOOTSTRAP_SERVERS=no-such-broker.invalid:9092"},
			code: "kafka_unreachable",
			says: "no-such-broker.invalid",
			cure: "check the address in kafka.bootstrap.servers, and that a broker listens there",
		},
		"nobody listens at Postgres's address": {
			env:  []string{"WALPOST_POSTGRES_URL=postgres://{role}:hidden-word@127.0.0.1:1/shop"},
			code: "postgres_unreachable",
			says: "connect to 127.0.0.1 port 1 as {role}",
			cure: "start the server, open the network path to it, or correct host and port",
		},
		"Postgres's name unknown": {
			env:  []string{"WALPOST_POSTGRES_URL=postgres://{role}:hidden-word@no-such-host.invalid/shop"},
			code: "postgres_unreachable",
			says: "no-such-host.invalid",
			cure: "correct the host name in the connection string",
		},
		"too many connections": {
			take: "ALTER ROLE {role} CONNECTION LIMIT 0", back: "ALTER ROLE {role} CONNECTION LIMIT -1",
			code: "too_many_connections",
			says: "53300",
			cure: "walpost needs up to 4 connections, one of them a walsender: end unused sessions, or raise the limit that the error names",
		},
		"database closed for maintenance": {
			take: "UPDATE pg_database SET datallowconn = false WHERE datname = '{database}'", back: "UPDATE pg_database SET datallowconn = true WHERE datname = '{database}'",
			code: "database_closed",
			says: "is not currently accepting connections",
			cure: "run: ALTER DATABASE {database} ALLOW_CONNECTIONS true",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipe(t)
			role := p.db.Name + "_r"
			p.exec(t, "CREATE ROLE "+role+" LOGIN PASSWORD 'hidden-word'")
			t.Cleanup(func() {
				for _, sql := range []string{"DROP OWNED BY " + role, "DROP ROLE " + role} {
					if _, err := p.superuser(context.Background(), sql); err != nil {
						t.Errorf("%s: %v", sql, err)
					}
				}
			})
			p.withSchema(t, "--relay-role", role)
			fill := strings.NewReplacer("{role}", role, "{database}", p.db.Name).Replace
			if c.take != "" {
				p.exec(t, fill(c.take))
			}
			env := []string{"WALPOST_POSTGRES_URL=" + p.as(t, role, "hidden-word")}
			for _, variable := range c.env {
				env = append(env, fill(variable))
			}
			r := p.launch(t, env...)
			r.awaitCode(t, c.code)
			r.awaitUnready(t, fill(c.says))
			r.awaitUnready(t, fill(c.cure))
			r.awaitOutput(t, "reason="+c.code, fill(c.says), "cure=", fill(c.cure))
			if status, _, err := r.get("/livez"); err != nil || status != http.StatusOK {
				t.Errorf("/livez: %d, %v", status, err)
			}
			p.untouched(t)
			if c.back != "" {
				p.exec(t, fill(c.back))
				r.awaitReady(t, "leader")
			}
			r.stop(t)
			noSecret(t, r.output())
		})
	}
}
