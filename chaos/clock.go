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

// The clock of one process cannot be moved: the system's would be everybody's. So a second relay is built, the same but for package time,
// whose wall clock is ahead by what a file says. Its monotonic clock, by which timers run, is the system's, as when an operator or NTP
// sets the time.

// clockVariable names, to that relay, the file with the seconds.
const clockVariable = "CHAOS_CLOCK"

// jumpSource goes into package time.
const jumpSource = `package time

import (
	"sync/atomic"
	"syscall"
)

var jumpBy atomic.Int64

// jump returns the seconds in the file. Now is called where nothing may be read, so that is done aside.
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

// nowBegins is how time.Now begins, and nowJumps how it does then.
const (
	nowBegins = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	nowJumps  = nowBegins + "\tsec += jump()\n"
)

// jumping returns the relay whose clock can jump, which is built when it is first asked for.
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
		return "", fmt.Errorf("package time of %s begins time.Now otherwise: bring chaos/clock.go up to date", runtime.Version())
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
		return "", fmt.Errorf("with a clock that jumps: %w", err)
	}
	return binary, nil
}

// setClock puts the relay's clock ahead, or back.
func (r *rig) setClock(by time.Duration) error {
	_, err := r.home.WriteFile("clock", fmt.Appendf(nil, "%d", int64(by/time.Second)))
	return err
}
