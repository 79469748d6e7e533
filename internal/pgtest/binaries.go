package pgtest

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"walpost/internal/testenv/child"
)

// The oldest and the newest major version that walpost is tested on. Both can be downloaded.
const (
	OldestMajor = 14
	NewestMajor = 18
)

// binaries is a folder with initdb and postgres of one version.
type binaries struct {
	dir          string
	major, minor int
	source       string // where the folder came from, for people
}

func (b binaries) program(name string) string { return filepath.Join(b.dir, name) }

func (b binaries) version() string { return fmt.Sprintf("%d.%d", b.major, b.minor) }

// wellKnown are the folders outside PATH in which packages install server binaries: Debian and Ubuntu, the PostgreSQL project's RPMs, a
// build from source, Homebrew on both kinds of Mac, Postgres.app.
var wellKnown = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/local/pgsql/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// onMachine lists the supported server binaries of this machine, the newest
// first, each folder once.
func onMachine(ctx context.Context, user *child.User) []binaries {
	var found []binaries
	seen := make(map[string]bool)
	for _, dir := range places(ctx) {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil || seen[real] || !user.CanEnter(real) {
			continue
		}
		seen[real] = true
		if b, err := inspect(ctx, real); err == nil && b.major >= OldestMajor {
			b.source = "on this machine"
			found = append(found, b)
		}
	}
	slices.SortStableFunc(found, func(a, b binaries) int {
		return cmp.Or(cmp.Compare(b.major, a.major), cmp.Compare(b.minor, a.minor))
	})
	return found
}

// places returns the folders to search. They need not exist.
func places(ctx context.Context) []string {
	var dirs []string
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, pattern := range wellKnown {
		matches, _ := filepath.Glob(pattern)
		dirs = append(dirs, matches...)
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	return dirs
}

// "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)"; a beta has no dot.
var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)(?:\.(\d+))?`)

// inspect asks a folder's server for its version.
func inspect(ctx context.Context, dir string) (binaries, error) {
	b := binaries{dir: dir}
	if _, err := exec.LookPath(b.program("initdb")); err != nil {
		return b, err
	}
	out, err := exec.CommandContext(ctx, b.program("postgres"), "--version").Output()
	if err != nil {
		return b, fmt.Errorf("ask %s for its version: %w", b.program("postgres"), err)
	}
	match := versionLine.FindStringSubmatch(string(out))
	if match == nil {
		return b, fmt.Errorf("ask %s for its version: it says %q", b.program("postgres"), out)
	}
	b.major, _ = strconv.Atoi(match[1]) // no error: the pattern matches only digits
	b.minor, _ = strconv.Atoi(match[2])
	return b, nil
}
