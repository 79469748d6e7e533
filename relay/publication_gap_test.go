package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
	"walpost/relay/replication"
)

// TestPublicationGap: a part of the WAL for which there was no publication stops the relay. Everything before it is confirmed. Up to 17 the
// server sends an error, and since 18 a warning, also to a role that wants no warnings.
func TestPublicationGap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		major    int
		messages string // client_min_messages of the role
	}{{0, "notice"}, {18, "notice"}, {18, "error"}} {
		t.Run(fmt.Sprintf("Postgres %d, %s", c.major, c.messages), func(t *testing.T) {
			f := fixtureOn(t, pgtest.NewMajor(t, c.major).DSN)
			role := f.Role("quiet", "login superuser")
			f.Exec("alter role " + role + " set client_min_messages = " + c.messages)
			f.cfg.ConnString = f.As(role)
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

// TestServerErrorEndsAtOnce: when the server ends the stream with an error, the relay does not wait for it. Up to 17, rows that were
// written without the publication cause that.
func TestServerErrorEndsAtOnce(t *testing.T) {
	t.Parallel()
	f := fixtureOn(t, pgtest.NewMajor(t, 14).DSN)
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	f.Exec("begin")
	f.Exec("drop publication walpost")
	f.Insert(1)
	begun := time.Now()
	f.Exec("commit")
	f.Insert(1)
	err := r.wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "did not exist when") {
		t.Fatalf("ended with %v", err)
	}
	if took := time.Since(begun); took >= replication.DrainLimit {
		t.Errorf("it took %v", took)
	}
}
