package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return leaf(&cobra.Command{
		Use:   "version",
		Short: "Print the version",
		RunE: verb(func(*cobra.Command) error {
			_, err := fmt.Fprintln(a.stdout, thisBuild())
			return err
		}),
	})
}

// version is the version of a release, set by -ldflags "-X main.version=…".
var version string

// build is the version information that the toolchain wrote into the binary.
type build struct {
	version   string // of the release, else of the module, else devel
	revision  string // the commit; "" where it was not recorded
	goVersion string
}

func thisBuild() build {
	b := build{version: cmp.Or(version, "devel"), goVersion: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; version == "" && v != "" && v != "(devel)" {
		b.version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.revision = s.Value
		}
	}
	return b
}

// String returns one line for people.
func (b build) String() string {
	s := "walpost " + b.version
	if b.revision != "" {
		s += " (" + b.revision[:min(12, len(b.revision))] + ")"
	}
	return fmt.Sprintf("%s %s %s/%s", s, b.goVersion, runtime.GOOS, runtime.GOARCH)
}
