package pgtest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"walpost/internal/testenv/child"
	"walpost/internal/testenv/long"
	"walpost/internal/testenv/need"
)

// Binaries on this machine are used if there are any, by version.
func TestMachineBinaries(t *testing.T) {
	user, err := child.Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	local := onMachine(t.Context(), user)
	if len(local) == 0 {
		t.Skip("no server binaries are installed here (the tests of NewMajor fetch theirs)")
	}
	for i := 1; i < len(local); i++ {
		if local[i-1].major < local[i].major {
			t.Errorf("%s is listed before the newer %s", local[i-1].version(), local[i].version())
		}
	}
	for _, major := range []int{0, local[0].major} {
		if b, err := find(t.Context(), major, user); err != nil || b.dir != local[0].dir {
			t.Errorf("version %d: found %v (%v), not %v", major, b, err, local[0])
		}
	}
}

// Both kinds of downloaded binaries work, also those of the jar, which are otherwise only the last resort.
func TestMavenBinariesStart(t *testing.T) {
	long.Only(t)
	b, err := fromMaven(t.Context(), NewestMajor)
	if err != nil {
		need.Met(t, &need.Lack{What: "PostgreSQL server by Maven", Tried: []string{err.Error()}, Ways: []string{"install Maven and xz"}})
	}
	if b.major != NewestMajor {
		t.Errorf("asked for version %d, got %s", NewestMajor, b.version())
	}
	user, err := child.Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	s, err := launch(t.Context(), b, user, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := value[string](t, s.DSN(maintenance), "SHOW wal_level"); got != "logical" {
		t.Errorf("wal_level is %s", got)
	}
}

// Without any source, the error says what was tried and what to do.
func TestLackNamesTheWaysOut(t *testing.T) {
	defer func(old []string) { wellKnown = old }(wellKnown)
	wellKnown = []string{"/nowhere"}
	t.Setenv("PATH", "/nowhere")
	t.Setenv("HOME", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // so that binaries in the cache fail, too: they need a run of postgres --version
	_, err := find(ctx, NewestMajor, nil)
	var lack *need.Lack
	if !errors.As(err, &lack) {
		t.Fatalf("the error is %v", err)
	}
	for _, part := range []string{"npm:", "Maven:", "/nowhere", "WALPOST_TEST_POSTGRES_18=", "apt-get install postgresql"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not name %q:\n%v", part, err)
		}
	}
}
