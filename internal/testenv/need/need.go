// Package need says what a test does when a real component cannot be had.
//
// A bare `go test ./...` may run on a machine without Postgres, Java or a
// browser: the test is skipped and says what is missing and how to get it.
// `make test` sets WALPOST_TEST_REQUIRE=1, and then the same lack is a
// failure, so that a green run never hides a test that did not run.
package need

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// RequireVariable names the environment variable that turns every lack into
// a failure when it is "1".
const RequireVariable = "WALPOST_TEST_REQUIRE"

// Lack is the error for a component that cannot be had on this machine. Any
// other error (a server that does not start, an address that does not
// answer) is a fault and never a reason to skip.
type Lack struct {
	What  string   // the component: "a PostgreSQL server"
	Tried []string // what was looked for, in order, each with its outcome
	Ways  []string // what a person can do about it, the cheapest first
}

// Error lists what was tried and the ways out, one to a line.
func (l *Lack) Error() string {
	var b strings.Builder
	b.WriteString("no " + l.What + " to be had")
	for _, tried := range l.Tried {
		b.WriteString("\n  tried: " + tried)
	}
	for _, way := range l.Ways {
		b.WriteString("\n  way out: " + way)
	}
	return b.String()
}

// Met ends the test unless err is nil: a [Lack] skips it, or fails it when
// WALPOST_TEST_REQUIRE is "1"; any other error fails it.
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
