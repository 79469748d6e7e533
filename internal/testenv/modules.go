package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"walpost/internal/testenv/long"
)

// findModules lists the folders below root with a go.mod, root itself first. `go test ./...` in root does not test nested modules. It skips
// tools/, which has no code, testdata and hidden folders.
func findModules(root string) ([]string, error) {
	var modules []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && skipped(entry.Name()):
			return filepath.SkipDir
		case entry.Name() == "go.mod":
			modules = append(modules, filepath.Dir(path))
		}
		return nil
	})
	if err == nil && !slices.Contains(modules, root) {
		err = errors.New("find go.mod: there is none in this folder; run this in the repository's root")
	}
	slices.Sort(modules) // "." sorts before every name
	return modules, err
}

func skipped(folder string) bool {
	return folder == "tools" || folder == "testdata" || strings.HasPrefix(folder, ".")
}

// sideBySide is how many go tests run at the same time. Most tests wait for a server most of the time, and near the end of a module a core
// is idle.
const sideBySide = 2

// job is one run of go test.
type job struct {
	name, module string
	args         []string // of go test
	env          []string // besides the environment of all jobs
	alone        bool     // it runs after all others, and nothing runs beside it
}

// shortJobs returns a go test for each module. The limit of 10 minutes that go test has for a package is too short for e2e on a slow machine.
// `make lint` runs vet, because vet cannot reuse a build for the race detector.
func shortJobs(modules, args []string) []job {
	var jobs []job
	for _, module := range modules {
		jobs = append(jobs, job{name: "module " + module, module: module, args: append([]string{"-race", "-timeout", "30m", "./..."}, args...)})
	}
	return jobs
}

// longJobs returns the same with a longer timeout. Tests that count allocations do not work under the race detector, so they run in a job
// without it. Tests that measure times need the machine for themselves, so they run last and alone, and without the race detector, which takes
// cores from what they measure. If the arguments choose tests, there are no such jobs.
func longJobs(modules, args []string) []job {
	jobs := shortJobs(modules, append([]string{"-timeout", "50m"}, args...))
	if len(args) > 0 {
		return jobs
	}
	for i := range jobs {
		jobs[i].env = []string{long.AloneVariable + "=later"}
	}
	jobs = append(jobs, job{name: "allocations", module: ".", args: []string{"-run", "Allocates", "./..."}})
	if slices.Contains(modules, measured) {
		jobs = append(jobs, job{name: "figures", module: measured, args: []string{"-run", "^" + long.AlonePrefix, "-timeout", "30m", "./..."}, alone: true})
	}
	return jobs
}

// measured is the module with the tests that measure times.
const measured = "e2e"

// runJobs runs all jobs, even if one fails, and prints the result of each at the end.
func runJobs(ctx context.Context, r *report, jobs []job, env []string) error {
	results := make([]string, len(jobs))
	var failed atomic.Int64
	run := func(i int, job *job) {
		began := time.Now()
		err := job.run(ctx, r, env)
		result := "ok"
		if err != nil {
			failed.Add(1)
			result = "FAILED: " + err.Error()
		}
		results[i] = fmt.Sprintf("%-35s %4.0f s  %s\n", job.name, time.Since(began).Seconds(), result)
	}
	var group errgroup.Group
	group.SetLimit(sideBySide)
	for i := range jobs {
		if !jobs[i].alone {
			group.Go(func() error { run(i, &jobs[i]); return nil })
		}
	}
	_ = group.Wait() // no error: the result of each job is in its line
	for i := range jobs {
		if jobs[i].alone && ctx.Err() == nil {
			run(i, &jobs[i])
		}
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	r.say("\n" + strings.Join(results, ""))
	var errs []error
	if n := failed.Load(); n > 0 {
		errs = append(errs, fmt.Errorf("tests failed in %d of %d go tests", n, len(jobs)))
	}
	return errors.Join(append(errs, r.unrun())...)
}

// parallel is how many tests of a package run at the same time. Tests that call t.Parallel mostly wait, so the number does not depend on
// the number of cores.
const parallel = "4"

// run runs go test and reports its output.
func (j job) run(ctx context.Context, r *report, env []string) error {
	args := append([]string{"test", "-json", "-vet=off", "-count=1", "-parallel", parallel}, j.args...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = j.module, slices.Concat(env, j.env)
	cmd.Stderr = os.Stderr
	events, writer := io.Pipe()
	cmd.Stdout = writer
	// A separate process group: an interrupt is then sent from here, once, to the go command and to the test programs.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	read := make(chan error, 1)
	go func() { read <- r.read(events) }()
	err := cmd.Run()
	return errors.Join(err, writer.CloseWithError(io.EOF), <-read)
}
