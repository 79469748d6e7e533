package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"walpost/internal/pgtest"
)

// closed is the write end of a pipe that nothing reads.
type closed struct{}

func (closed) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
}

// If nothing reads its output any more, tail ends without an error, even where only a write shows that.
func TestTailIntoAClosedPipe(t *testing.T) {
	db := pgtest.New(t)
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", db.DSN)
	if code, _, stderr := command(t, "schema", "apply"); code != 0 {
		t.Fatal(stderr)
	}
	p := start(t.Context(), func(a *app) { a.stdout = closed{} }, "tail")
	p.logged(t, "printing what is committed from now on")
	db.Exec(t, "select walpost.publish('order', '1', 'Placed', '{}')")
	if code := p.exit(t); code != 0 || strings.Contains(p.stderr.String(), "pipe") {
		t.Errorf("exit %d\n%s", code, &p.stderr)
	}
}
