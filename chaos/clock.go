package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"walpost/internal/testenv/program"
)

// The clock of a single process cannot be changed: all processes share the system's clock. So a second relay is built with a changed package
// time. Its wall clock is ahead by the seconds in a file. Its monotonic clock, by which timers run, is the system's, just as when an operator or
// NTP sets the time.

// clockVariable is the environment variable that names the file with the seconds.
const clockVariable = "CHAOS_CLOCK"

// jumpSource is a file that is added to package time.
const jumpSource = `package time

import (
	"sync/atomic"
	"syscall"
)

var jumpBy atomic.Int64

// jump returns the seconds in the file. Now is called where no file may be read, so another goroutine reads it.
func jump() int64 { return jumpBy.Load() }

func init() {
	name, given := syscall.Getenv("` + clockVariable + `")
	if !given {
		return
	}
	go func() {
		for ; ; Sleep(5 * Millisecond) {
			jumpRead(name)
		}
	}()
}

func jumpRead(name string) {
	fd, err := open(name)
	if err != nil {
		return
	}
	defer closefd(fd)
	buf := make([]byte, 32)
	n, _ := read(fd, buf)
	by, sign := int64(0), int64(1)
	for _, c := range buf[:max(n, 0)] {
		switch {
		case c == '-':
			sign = -1
		case c >= '0' && c <= '9':
			by = by*10 + int64(c-'0')
		}
	}
	jumpBy.Store(sign * by)
}
`

// nowBegins is the beginning of time.Now, and nowJumps its replacement.
const (
	nowBegins = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	nowJumps  = nowBegins + "\tsec += jump()\n"
)

// jumping returns the binary of the relay whose clock can jump. It is built at the first call.
func (r *rig) jumping(ctx context.Context) (binary string, err error) {
	binary = r.home.Path("walpost-jumping")
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time")
	source, err := os.ReadFile(filepath.Join(folder, "time.go"))
	if err != nil {
		return "", err
	}
	if strings.Count(string(source), nowBegins) != 1 {
		return "", fmt.Errorf("change time.Now of %s: its source does not begin as expected: update chaos/clock.go", runtime.Version())
	}
	files := map[string]string{"time.go": strings.Replace(string(source), nowBegins, nowJumps, 1), "jump.go": jumpSource}
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for name, text := range files {
		path, err := r.home.WriteFile("overlay-"+name, []byte(text))
		if err != nil {
			return "", err
		}
		overlay.Replace[filepath.Join(folder, name)] = path
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	list, err := r.home.WriteFile("overlay.json", text)
	if err != nil {
		return "", err
	}
	if err := program.Build(ctx, binary, "-trimpath", "-overlay", list); err != nil {
		return "", fmt.Errorf("build walpost with a clock that jumps: %w", err)
	}
	return binary, nil
}

// setClock sets how far the relay's clock is ahead, or behind if by is negative.
func (r *rig) setClock(by time.Duration) error {
	_, err := r.home.WriteFile("clock", fmt.Appendf(nil, "%d", int64(by/time.Second)))
	return err
}
