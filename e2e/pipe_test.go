package e2e

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/child"
)

// pipe has the database, topics and configuration of one test. The slot has the
// name of the database, which is unique on the server.
type pipe struct {
	db      *pgtest.DB
	conn    *pgx.Conn // the test's own session, in UTC
	brokers []string
	prefix  string // of its topics' names
	home    *child.Home
	env     map[string]string
	plain   bool // run the binary without the race detector
}

// newPipe makes a pipe on the shared servers.
func newPipe(t *testing.T) *pipe {
	t.Helper()
	return pipeOn(t, pgtest.New(t), kafkatest.Brokers(t))
}

// pipeOn makes a pipe between a database and brokers. The test creates the
// topics with topic.
func pipeOn(t *testing.T, db *pgtest.DB, brokers []string) *pipe {
	t.Helper()
	home, err := child.NewHome("walpost-e2e-", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := home.Close(); err != nil {
			t.Error(err)
		}
	})
	p := &pipe{db: db, brokers: brokers, prefix: kafkatest.Name(t), home: home}
	p.env = map[string]string{
		"PATH":                            os.Getenv("PATH"),
		"WALPOST_POSTGRES_URL":            db.DSN,
		"WALPOST_POSTGRES_SLOT":           db.Name,
		"WALPOST_OUTBOX_TOPIC":            p.prefix + ".{aggregatetype}",
		"WALPOST_KAFKA_BOOTSTRAP_SERVERS": strings.Join(brokers, ","),
		// A race makes the process exit with 66. Without a race its end is not
		// delayed, as it would be by default.
		"GORACE": "halt_on_error=1 atexit_sleep_ms=0",
	}
	p.conn = p.connect(t)
	return p
}

// unchecked drops the constraints of the outbox, for rows that cannot be
// published. An outbox that walpost did not create has no such constraints.
func (p *pipe) unchecked(t testing.TB) {
	t.Helper()
	p.exec(t, "ALTER TABLE walpost.outbox DROP CONSTRAINT walpost_headers, DROP CONSTRAINT walpost_aggregatetype")
}

// withSchema applies walpost's schema.
func (p *pipe) withSchema(t testing.TB, args ...string) *pipe {
	t.Helper()
	p.mustCLI(t, append([]string{"schema", "apply"}, args...)...)
	return p
}

// topic creates a topic of the test and returns its name.
func (p *pipe) topic(t testing.TB, aggregate string, partitions int32, config map[string]string) string {
	t.Helper()
	name := p.prefix + "." + aggregate
	kafkatest.Topic(t, p.brokers, name, partitions, config)
	return name
}

// connect opens a session whose times are UTC.
func (p *pipe) connect(t testing.TB) *pgx.Conn {
	t.Helper()
	conn := p.db.Connect(t)
	if _, err := conn.Exec(t.Context(), "SET timezone = 'UTC'"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// exec runs statements in the test's own session.
func (p *pipe) exec(t testing.TB, statements ...string) {
	t.Helper()
	execOn(t, p.conn, statements...)
}

func execOn(t testing.TB, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// ask runs a query that returns one value.
func ask[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var value T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// settle waits until everything that is committed now is confirmed. walpost
// promises that all of it is in Kafka then.
func (p *pipe) settle(t testing.TB) {
	t.Helper()
	end := ask[string](t, p.conn, "SELECT pg_current_wal_flush_lsn()::text")
	eventually(t, "the slot is confirmed up to "+end, func() string {
		return ask[string](t, p.conn, `SELECT coalesce((SELECT CASE WHEN confirmed_flush_lsn >= $2::pg_lsn THEN '' ELSE 'it is at '||confirmed_flush_lsn END
			FROM pg_replication_slots WHERE slot_name = $1), 'no slot')`, p.db.Name, end)
	})
}

// hasLetters is empty if walpost.dead_letters has n rows that fulfil a condition, and otherwise how many it has.
func (p *pipe) hasLetters(t testing.TB, n int, where string) string {
	t.Helper()
	return ask[string](t, p.conn, "SELECT CASE WHEN count(*) = $1 THEN '' ELSE count(*)::text END FROM walpost.dead_letters WHERE "+where, n)
}

// awaitReport waits until the relay has sent a status after it received
// everything that is committed now. A relay that confirms too much has done it by
// then.
func (p *pipe) awaitReport(t testing.TB) {
	t.Helper()
	const query = `SELECT coalesce((SELECT r.sent_lsn >= $2::pg_lsn AND r.reply_time > $3 FROM pg_replication_slots s
		JOIN pg_stat_replication r ON r.pid = s.active_pid WHERE s.slot_name = $1), false)`
	end := ask[string](t, p.conn, "SELECT pg_current_wal_flush_lsn()::text")
	sent := time.Time{}
	eventually(t, "the relay reports", func() string {
		now := ask[time.Time](t, p.conn, "SELECT clock_timestamp()")
		switch {
		case !ask[bool](t, p.conn, query, p.db.Name, end, sent):
			return "no report yet"
		case sent.IsZero(): // everything was sent to it, so the next status counts
			sent = now
			return "all is sent"
		}
		return ""
	})
}

// environment returns the whole environment of a walpost process. more has
// entries "NAME=value", which override others.
func (p *pipe) environment(more []string) []string {
	var env []string
	for name, value := range p.env {
		env = append(env, name+"="+value)
	}
	return append(env, more...)
}

func (p *pipe) program(t testing.TB) string {
	t.Helper()
	find := binary
	if p.plain {
		find = plainBinary
	}
	path, err := find()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// result is the result of a command.
type result struct {
	stdout, stderr string
	code           int
}

// cli runs a walpost command to its end.
func (p *pipe) cli(t testing.TB, env []string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.program(t), args...)
	cmd.Env, cmd.Dir = p.environment(env), p.home.Dir()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (p *pipe) mustCLI(t testing.TB, args ...string) string {
	t.Helper()
	r := p.cli(t, nil, args...)
	if r.code != 0 {
		t.Fatalf("walpost %s: exit %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.stdout
}

// as returns the database's address for another role.
func (p *pipe) as(t testing.TB, role, password string) string {
	t.Helper()
	u, err := url.Parse(p.db.DSN)
	if err != nil || u.Scheme == "" {
		t.Fatalf("%s has to hold a URL for this test", pgtest.Variable)
	}
	u.User = url.UserPassword(role, password)
	return u.String()
}

// elsewhere returns the address of another database of the same server.
func (p *pipe) elsewhere(t testing.TB, database string) string {
	t.Helper()
	u, err := url.Parse(p.db.DSN)
	if err != nil || u.Scheme == "" {
		t.Fatalf("%s has to hold a URL for this test", pgtest.Variable)
	}
	u.Path = "/" + database
	return u.String()
}

// superuser runs a statement in a session of its own, for a test's cleanup, when
// the test's context and sessions are gone.
func (p *pipe) superuser(ctx context.Context, sql string) (pgconn.CommandTag, error) {
	conn, err := pgx.Connect(ctx, p.db.DSN)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer conn.Close(ctx)
	return conn.Exec(ctx, sql)
}
