package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// starterVariable turns the test program into a starter that can be killed.
const starterVariable = "WALPOST_TEST_CHILD_STARTER"

func TestMain(m *testing.M) {
	if os.Getenv(starterVariable) != "" {
		starter()
	}
	os.Exit(m.Run())
}

// starter starts two children, one of them as another user if possible, prints where they are, and waits to be killed.
func starter() {
	user, err := Unprivileged()
	if err != nil {
		panic(err)
	}
	for _, user := range []*User{nil, user} {
		home, err := NewHome("walpost-child-", user)
		if err != nil {
			panic(err)
		}
		p, err := home.Start(sleeper(home))
		if err != nil {
			panic(err)
		}
		fmt.Println(home.Dir(), p.PID())
	}
	select {}
}

// sleeper is a server that only writes to its folder now and then.
func sleeper(h *Home) Spec {
	return Spec{
		Path: "/bin/sh", Args: []string{"-c", "echo up; while :; do sleep 1; done"},
		Env: []string{"PATH=" + os.Getenv("PATH")}, Log: h.Path("log"), Death: syscall.SIGQUIT,
	}
}

// await waits until a condition is true.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("in vain: %s", what)
		case <-tick.C:
		}
	}
}

// gone reports whether a process has ended, even if it is still a zombie.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	// Zombies stay if nothing reaps orphans, as in many containers.
	return state(pid) == "Z"
}

// state returns the state of a process as ps prints it; "" without ps.
func state(pid int) string {
	out, _ := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return strings.TrimRight(strings.TrimSpace(string(out)), "<NLsl+")
}

// After a starter was killed, its children and files are gone.
func TestKilledStarterLeavesNothing(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), starterVariable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	dirs := make(map[string]int)
	for len(dirs) < 2 && lines.Scan() {
		dir, number, _ := strings.Cut(lines.Text(), " ")
		if dirs[dir], err = strconv.Atoi(number); err != nil {
			t.Fatalf("the starter says %q", lines.Text())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if len(dirs) != 2 {
		t.Fatalf("the starter started %v", dirs)
	}
	for dir, pid := range dirs {
		await(t, "the end of the child", func() bool { return gone(pid) })
		await(t, "the end of the folder", func() bool {
			_, err := os.Stat(dir)
			return errors.Is(err, os.ErrNotExist)
		})
	}
}

// Close also ends a frozen child, and a child that ignores its death signal.
func TestCloseEndsEveryChild(t *testing.T) {
	defer func(old time.Duration) { grace = old }(grace)
	grace = 2 * time.Second
	home, err := NewHome("walpost-child-", nil)
	if err != nil {
		t.Fatal(err)
	}
	deaf := sleeper(home)
	deaf.Death, deaf.Log = syscall.SIGCONT, home.Path("deaf") // a signal that ends no process
	frozen, err1 := home.Start(sleeper(home))
	unheard, err2 := home.Start(deaf)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if err := frozen.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, "the freeze", func() bool { return state(frozen.PID()) == "T" })
	await(t, "a line in the log", func() bool { return Tail(home.Path("deaf")) == "up\n" })
	if err := home.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		process *Process
		signal  syscall.Signal
	}{"frozen": {frozen, syscall.SIGQUIT}, "deaf": {unheard, syscall.SIGKILL}} {
		var end *exec.ExitError
		if c.process.Running() {
			t.Errorf("the %s child runs", name)
		} else if !errors.As(c.process.Err(), &end) || end.Sys().(syscall.WaitStatus).Signal() != c.signal {
			t.Errorf("the %s child ended by %v, not by %v", name, c.process.Err(), c.signal)
		}
	}
	if _, err := os.Stat(home.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is there: %v", err)
	}
	if _, err := home.Start(sleeper(home)); err == nil {
		t.Error("a closed home starts a process")
	}
}

// Terminate returns an error for an exit code other than 0, and gives up if ctx ends.
func TestTerminate(t *testing.T) {
	home, err := NewHome("walpost-child-", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	for trap, want := range map[string]string{"exit 0": "", "exit 3": "exit status 3", "": "deadline"} {
		spec := sleeper(home)
		spec.Log = home.Path("terminate" + trap)
		spec.Args = []string{"-c", "trap '" + trap + "' TERM; echo waiting; echo up; while :; do sleep 0.1; done"}
		p, err := home.Start(spec)
		if err != nil {
			t.Fatal(err)
		}
		await(t, "the trap is set", func() bool { return LastLines(spec.Log, 1) == "up" })
		limit := 20 * time.Second
		if want == "deadline" {
			limit = 200 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		if err := p.Terminate(ctx); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", trap, err, want)
		}
		cancel()
	}
}

// Run ends a program that hangs, and the error contains the program's output.
func TestRun(t *testing.T) {
	home, err := NewHome("walpost-child-", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	env := []string{"PATH=" + os.Getenv("PATH")}
	if out, err := home.Run(t.Context(), "/bin/sh", env, "-c", "pwd"); err != nil || !strings.Contains(out, "walpost-child-") {
		t.Errorf("pwd says %q, %v", out, err)
	}
	if _, err := home.Run(t.Context(), "/bin/sh", env, "-c", "echo sorry; exit 3"); err == nil || !strings.Contains(err.Error(), "sorry") {
		t.Errorf("a program that fails: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := home.Run(ctx, "/bin/sh", env, "-c", "while :; do sleep 1; done"); err == nil {
		t.Error("a program that hangs does not fail")
	}
}

func TestFreePortsAreDifferentAndOutOfClientsWay(t *testing.T) {
	ports, err := FreePorts(50)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	for _, port := range ports {
		if seen[port] || port < firstPort || port >= lastPort {
			t.Errorf("port %d", port)
		}
		seen[port] = true
	}
}
