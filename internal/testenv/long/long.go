// Package long divides the tests into two sizes.
//
// `make test` runs the short size: a test for every guarantee, on one version of Postgres and one broker if that is enough to show it.
// `make test-long` runs the same and the long tests: other versions, large volumes, clusters. A plain `go test` also runs the short size,
// unless [Variable] is "1".
package long

import (
	"os"
	"strings"
	"testing"
)

// Variable is the environment variable that makes the long tests run if it is "1".
const Variable = "WALPOST_TEST_LONG"

// Left is the message of every test that is left to the long size. testenv counts these tests by that message.
const Left = "left to make test-long (" + Variable + "=1)"

// Tests that measure times run in the long size only, with nothing beside them. Their names begin with AlonePrefix. testenv sets AloneVariable to
// "later" in the jobs that run side by side. LeftAlone is the message of these tests there.
const (
	AlonePrefix   = "TestFigures"
	AloneVariable = "WALPOST_TEST_ALONE"
	LeftAlone     = "left to the job that runs alone"
)

// Enabled reports whether the long tests run.
func Enabled() bool { return os.Getenv(Variable) == "1" }

// Only makes the test run in the long size only: in the short size it is skipped. Say in a comment which other test shows the guarantee in
// the short size.
func Only(t testing.TB) {
	t.Helper()
	if !Enabled() {
		t.Skip(Left)
	}
}

// Alone makes the test run in the long size only, and there without any other test beside it. Its name has to begin with [AlonePrefix].
func Alone(t testing.TB) {
	t.Helper()
	Only(t)
	if !strings.HasPrefix(t.Name(), AlonePrefix) {
		t.Fatalf("the name of a test that runs alone begins with %s", AlonePrefix)
	}
	if os.Getenv(AloneVariable) == "later" {
		t.Skip(LeftAlone)
	}
}

// Or returns short in the short size and long in the long size, for example the number of rounds, or the versions of a server.
func Or[T any](short, long T) T {
	if Enabled() {
		return long
	}
	return short
}
