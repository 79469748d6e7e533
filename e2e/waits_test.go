package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

// What time can cure is waited for, and that is visible: /readyz and the log
// name the object and the cause, /livez is well, nothing is made. When it is
// cured the relay streams.
func TestWaits(t *testing.T) {
	for name, c := range map[string]struct {
		env  []string // {role} is a role with the relay's rights
		take string   // SQL that makes it wait
		back string
		says string
	}{
		"broker's name unknown": {
			env:  []string{"WALPOST_KAFKA_BOOTSTRAP_SERVERS=no-such-broker.invalid:9092"},
			says: "no-such-broker.invalid",
		},
		"too many connections": {
			take: "ALTER ROLE {role} CONNECTION LIMIT 0", back: "ALTER ROLE {role} CONNECTION LIMIT -1",
			says: "53300",
		},
		"database closed for maintenance": {
			take: "UPDATE pg_database SET datallowconn = false WHERE datname = '{database}'", back: "UPDATE pg_database SET datallowconn = true WHERE datname = '{database}'",
			says: "is not currently accepting connections",
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
			r := p.launch(t, append([]string{"WALPOST_POSTGRES_URL=" + p.as(t, role, "hidden-word")}, c.env...)...)
			r.awaitUnready(t, c.says)
			r.awaitOutput(t, c.says)
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
