package e2e

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

const dockerfile = "../deploy/Dockerfile"

// readDockerfile reads a Dockerfile with BuildKit's own parser. What BuildKit only warns of is an error here.
func readDockerfile(text []byte) ([]instructions.Stage, error) {
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var warnings []error
	for _, w := range parsed.Warnings {
		warnings = append(warnings, errors.New(w.Short))
	}
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, message string, _ []parser.Range) {
		warnings = append(warnings, fmt.Errorf("%s: %s", rule, message))
	}})
	stages, _, err := instructions.Parse(parsed.AST, lint)
	if err := errors.Join(append(warnings, err)...); err != nil {
		return nil, err
	}
	return stages, checkStages(stages)
}

// checkStages checks what neither the parser nor the linter does: files come from stages that exist, and the image's own stage has what
// an image should have.
func checkStages(stages []instructions.Stage) error {
	known := make(map[string]bool)
	copied := make(map[string]bool) // paths in the last stage
	var user, entry, searched string
	for i, stage := range stages {
		for _, c := range stage.Commands {
			switch c := c.(type) {
			case *instructions.CopyCommand:
				if c.From != "" && !known[c.From] {
					return fmt.Errorf("%s: there is no stage %s before it", c, c.From)
				}
				if i == len(stages)-1 && c.From == "" {
					return fmt.Errorf("%s: the image has files of the build only", c)
				}
				copied[c.DestPath] = i == len(stages)-1
			case *instructions.RunCommand:
				if stage.BaseName == "scratch" {
					return fmt.Errorf("%s: an image from scratch has no shell", c)
				}
			case *instructions.EnvCommand:
				for _, v := range c.Env {
					if v.Key == "PATH" && i == len(stages)-1 {
						searched = v.Value
					}
				}
			case *instructions.UserCommand:
				user = c.User
			case *instructions.EntrypointCommand:
				if c.PrependShell {
					return fmt.Errorf("%s: an image from scratch has no shell", c)
				}
				entry = c.CmdLine[0]
			}
		}
		known[stage.Name] = true
	}
	last := stages[len(stages)-1]
	uid, _, _ := strings.Cut(user, ":")
	switch n, err := strconv.Atoi(uid); {
	case last.BaseName != "scratch":
		return fmt.Errorf("the image is from %s", last.BaseName)
	case err != nil || n == 0:
		return fmt.Errorf("user %q is not the number of a user other than root", user)
	case !copied[entry]:
		return fmt.Errorf("entry point %q is not in the image", entry)
	case path.Dir(entry) != searched:
		return fmt.Errorf("PATH is %q, and %s is not there", searched, entry)
	case !copied["/etc/ssl/certs/ca-certificates.crt"]:
		return errors.New("the certificates of the public authorities are not in the image")
	}
	return nil
}

// ownDockerfile returns the stages of the project's Dockerfile, which must be without mistakes.
func ownDockerfile(t *testing.T) []instructions.Stage {
	t.Helper()
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	stages, err := readDockerfile(text)
	if err != nil {
		t.Fatal(err)
	}
	return stages
}

// TestDockerfile: the Dockerfile is one for BuildKit; its commands, run on the files that .dockerignore leaves, build a static walpost.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	stages := ownDockerfile(t)
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod); stages[0].BaseName != "golang:"+string(version[1]) {
		t.Errorf("it builds with %s, go.mod is for Go %s", stages[0].BaseName, version[1])
	}
	root := t.TempDir()
	b := builder{context: buildContext(t), root: root, dir: root, env: append(os.Environ(), "GOTMPDIR="+root)}
	for _, c := range stages[0].Commands {
		b.do(t, c)
	}
	last := stages[len(stages)-1].Commands
	for _, c := range last {
		if c, ok := c.(*instructions.CopyCommand); ok && strings.HasSuffix(c.DestPath, "/walpost") {
			checkBinary(t, filepath.Join(root, c.SourcePaths[0]))
			return
		}
	}
	t.Error("walpost is not in the image")
}

// builder runs a stage's commands in a folder.
type builder struct {
	context   []string // the files that a build sees, relative to the repository
	root, dir string   // the stage's root, and its working folder
	env       []string
}

func (b *builder) do(t *testing.T, c instructions.Command) {
	t.Helper()
	switch c := c.(type) {
	case *instructions.WorkdirCommand:
		b.dir = filepath.Join(b.root, c.Path)
		if err := os.MkdirAll(b.dir, 0o755); err != nil {
			t.Fatal(err)
		}
	case *instructions.CopyCommand:
		for _, source := range c.SourcePaths {
			b.copy(t, source, c.DestPath)
		}
	case *instructions.ArgCommand:
		for _, arg := range c.Args {
			b.env = append(b.env, arg.Key+"="+testVersion)
		}
	case *instructions.RunCommand:
		cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.Join(c.CmdLine, " "))
		cmd.Dir, cmd.Env = b.dir, b.env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c, err, out)
		}
	default:
		t.Fatalf("this test cannot run %s", c)
	}
}

// copy copies a file, or all files for ".", from the build's context.
func (b *builder) copy(t *testing.T, source, dest string) {
	t.Helper()
	found := false
	for _, name := range b.context {
		if source != "." && source != name {
			continue
		}
		found = true
		to := filepath.Join(b.dir, dest, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), copyFile(filepath.Join("..", name), to)); err != nil {
			t.Fatal(err)
		}
	}
	if !found {
		t.Fatalf("COPY %s: the build's context has no such file; see .dockerignore", source)
	}
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// testVersion is the value of each ARG.
const testVersion = "v0.0.0-of-a-test"

// buildContext returns the repository's files that .dockerignore leaves.
func buildContext(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.Open("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	patterns, err := ignorefile.ReadAll(text)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == ".git":
			return fs.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		name, err := filepath.Rel("..", file)
		if err != nil {
			return err
		}
		out, err := ignored.MatchesOrParentMatches(name)
		if err == nil && !out {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// checkBinary checks that a binary runs where there is nothing else, and knows its version.
func checkBinary(t *testing.T, file string) {
	t.Helper()
	binary, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("walpost is linked dynamically; an image from scratch has no libraries")
		}
	}
	out, err := exec.CommandContext(t.Context(), file, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), testVersion) {
		t.Errorf("%s version: %v: %s", path.Base(file), err, out)
	}
}

// TestDockerfileMistakes: a mistake in the Dockerfile is an error.
func TestDockerfileMistakes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	for _, mistake := range []struct{ right, wrong, says string }{
		{"ENTRYPOINT [", "ENTRYPIONT [", "ENTRYPIONT"},
		{"--from=build", "--form=build", "form"},
		{"--from=build", "--from=built", "built"},
		{" AS build", " as build", "FromAsCasing"},
		{"USER 65532:65532", "USER nobody", "nobody"},
		{"USER 65532:65532", "USER 0", "root"},
		{`ENTRYPOINT ["/usr/local/bin/walpost"]`, "ENTRYPOINT walpost", "shell"},
		{`ENTRYPOINT ["/usr/local/bin/walpost"]`, `ENTRYPOINT ["/walpost"]`, "/walpost"},
		{"FROM scratch", "FROM debian", "debian"},
		{"FROM scratch", "FROM scratch\nRUN true", "shell"},
		{"ENV PATH=/usr/local/bin", "ENV HOME=/", "PATH"},
		{"COPY --from=build /etc/ssl", "COPY /etc/ssl", "of the build only"},
		{"COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt\n", "", "certificates"},
	} {
		if !bytes.Contains(text, []byte(mistake.right)) {
			t.Errorf("the Dockerfile has no %s", mistake.right)
		}
		_, err := readDockerfile(bytes.Replace(text, []byte(mistake.right), []byte(mistake.wrong), 1))
		if err == nil || !strings.Contains(err.Error(), mistake.says) {
			t.Errorf("%s: %v", mistake.wrong, err)
		}
	}
}
