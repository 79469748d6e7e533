// Package need decides what a test does if a real component is not available.
//
// A plain `go test ./...` may run on a machine without Postgres, Java or a browser. Then the test is skipped, and its message says what is
// missing and how to get it. `make test` sets WALPOST_TEST_REQUIRE=1, which turns that into a failure, so that a green run never hides a
// test that did not run.
package need

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// RequireVariable is the environment variable that turns every [Lack] into a failure if it is "1".
const RequireVariable = "WALPOST_TEST_REQUIRE"

// Lack is the error for a component that is not available on this machine. Any other error, such as a server that does not start or an
// address that does not answer, is a failure: the test is not skipped.
type Lack struct {
	What  string   // the component: "a PostgreSQL server"
	Tried []string // what was tried, in order, each with its outcome
	Ways  []string // what a person can do about it, the cheapest first
}

// Error lists what was tried and what a person can do, one per line.
func (l *Lack) Error() string {
	var b strings.Builder
	b.WriteString("no " + l.What + " available")
	for _, tried := range l.Tried {
		b.WriteString("\n  tried: " + tried)
	}
	for _, way := range l.Ways {
		b.WriteString("\n  way out: " + way)
	}
	return b.String()
}

// Met does nothing if err is nil. A [Lack] skips the test, or fails it if WALPOST_TEST_REQUIRE is "1". Any other error fails the test.
func Met(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var lack *Lack
	if errors.As(err, &lack) && os.Getenv(RequireVariable) != "1" {
		t.Skip(err)
	}
	t.Fatal(err)
}
