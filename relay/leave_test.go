package relay

import (
	"strings"
	"testing"
	"time"

	"walpost/internal/pgtest"
	"walpost/relay/pgerror"
	"walpost/relay/replication"
)

// TestServerErrorEndsAtOnce: a stream that the server has ended with an error is not waited for. Up to 17, rows that were written without
// the publication do that.
func TestServerErrorEndsAtOnce(t *testing.T) {
	f := fixtureOn(t, pgtest.NewMajor(t, 14).DSN)
	r := f.start()
	f.insert(1)
	until(t, "1 event", func() bool { return f.sink.count() == 1 })
	f.exec("begin")
	f.exec("drop publication walpost")
	f.insert(1)
	begun := time.Now()
	f.exec("commit")
	f.insert(1)
	err := r.wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "did not exist when") {
		t.Fatalf("ended with %v", err)
	}
	if took := time.Since(begun); took >= replication.DrainLimit {
		t.Errorf("it took %v", took)
	}
}
