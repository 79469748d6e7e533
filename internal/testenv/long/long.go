// Package long splits the tests in two sizes.
//
// `make test` runs the short size: a test for every guarantee, on one version
// of Postgres and one broker where that shows it. `make test-long` runs all of
// that and the long tests besides: other versions, volumes, clusters. A plain
// `go test` runs the short size too, unless [Variable] is "1".
package long

import (
	"os"
	"testing"
)

// Variable names the environment variable that lets the long tests run when it
// is "1".
const Variable = "WALPOST_TEST_LONG"

// Left is the message of every test that is left to the long size. testenv
// counts tests by it.
const Left = "left to make test-long (" + Variable + "=1)"

// Enabled reports whether the long tests run.
func Enabled() bool { return os.Getenv(Variable) == "1" }

// Only leaves the test to the long size: in the short one it is skipped. Say
// in a comment which other test shows the guarantee there.
func Only(t testing.TB) {
	t.Helper()
	if !Enabled() {
		t.Skip(Left)
	}
}

// Or returns what the short size takes, or in the long one what the long size
// takes: the number of rounds, or the versions of a server.
func Or[T any](short, long T) T {
	if Enabled() {
		return long
	}
	return short
}
