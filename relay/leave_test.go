package relay

import (
	"strings"
	"testing"
	"time"

	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
	"walpost/relay/replication"
)

// TestServerErrorEndsAtOnce: a stream that the server has ended with an error is not waited for. Up to 17, rows that were written without
// the publication do that.
func TestServerErrorEndsAtOnce(t *testing.T) {
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
