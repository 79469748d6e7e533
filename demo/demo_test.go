package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"walpost/internal/testenv/need"
)

// asDemo is the environment variable that makes the test binary the demo. So the
// demo is tested as a process, with signals and the race detector, without
// another build.
const asDemo = "WALPOST_TEST_AS_DEMO"

func TestMain(m *testing.M) {
	if os.Getenv(asDemo) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// performance is a run of the demo as a process.
type performance struct {
	t       *testing.T
	cmd     *exec.Cmd
	scratch string // its TMPDIR
	output  *os.File
	ended   chan struct{}
}

func perform(t *testing.T, env ...string) *performance {
	// Not t.TempDir: Postgres's user must be able to enter it.
	scratch, err := os.MkdirTemp("/tmp", "walpost-demo-test-")
	if err == nil {
		err = os.Chmod(scratch, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(scratch) })
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = output.Close() })
	p := &performance{t: t, cmd: exec.Command(os.Args[0]), scratch: scratch, output: output, ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), append(env, asDemo+"=1", "TMPDIR="+scratch)...)
	p.cmd.Stdout, p.cmd.Stderr = output, output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the tests check the exit code
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

func (p *performance) text() string { return read(p.t, p.output.Name()) }

func (p *performance) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// until waits for a fact.
func (p *performance) until(fact string, holds func() bool) {
	p.t.Helper()
	for end := time.Now().Add(3 * time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s: not within 3 minutes; the output:\n%s", fact, p.text())
		}
	}
}

func (p *performance) shows(text string) {
	p.t.Helper()
	p.until("shows "+text, func() bool {
		if p.over() {
			p.end(0)
			p.t.Fatalf("it ended without showing %q:\n%s", text, p.text())
		}
		return strings.Contains(p.text(), text)
	})
}

// end waits for the end and checks the exit code. Without a Postgres the test
// is skipped, or fails if it is required.
func (p *performance) end(code int) {
	p.t.Helper()
	p.until("ends", p.over)
	if strings.Contains(p.text(), "no PostgreSQL server") {
		need.Met(p.t, &need.Lack{What: "throwaway Postgres", Ways: []string{p.text()}})
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("exit code %d, want %d:\n%s", got, code, p.text())
	}
}

// remains lists what is left of a run: files in its TMPDIR, and processes. The
// command line of each of its processes has that folder's name.
func (p *performance) remains() []string {
	left, _ := filepath.Glob(filepath.Join(p.scratch, "*"))
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range commands {
		command, err := os.ReadFile(name)
		if err == nil && bytes.Contains(command, []byte(p.scratch)) {
			left = append(left, string(bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
		}
	}
	return left
}

func (p *performance) leavesNothing() {
	p.t.Helper()
	if left := p.remains(); len(left) > 0 {
		p.t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

func TestDemo(t *testing.T) {
	p := perform(t, "DEMO_SECONDS=14") // enough for every act on a busy machine
	p.shows("the relay is started again")
	if len(p.remains()) == 0 {
		t.Error("remains() finds nothing while everything runs")
	}
	p.end(0)
	p.leavesNothing()
	text := p.text()
	for _, want := range []string{
		"act 1: orders flow", "committed\n", "rolled back\n", "1 deducted\n", "1 granted\n", topic + "/",
		"dies between its two inserts", "killed\n", "the relay is started again", "order   #", "a gift for ada", "parked: ", "events of ada", "the stock service is started again",
		"the show takes 14s", "duplicate, ignored\n", "stock deducted ", "the balance holds; without effect, as it should be: 1 killed, ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	last := text[max(0, strings.Index(text, "the balance holds")):]
	for _, heading := range []string{"Try it with Docker Compose", "Your own database", "What it guarantees"} {
		if !strings.Contains(last, heading) {
			t.Errorf("the last screen does not name the section %q", heading)
		}
		if readme := read(t, "../README.md"); !strings.Contains(readme, "\n## "+heading+"\n") {
			t.Errorf("the README has no section %q", heading)
		}
	}
	for _, unwanted := range []string{"\x1b", "left out", "≠", "ignored: 0"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("%q is in the output", unwanted)
		}
	}
	if t.Failed() {
		t.Logf("the output:\n%s", text)
	}
}

func TestCtrlC(t *testing.T) {
	p := perform(t, "DEMO_SECONDS=0")
	p.shows("1 granted\n")
	p.signal(syscall.SIGINT)
	p.end(0)
	p.leavesNothing()
	for _, want := range []string{"until you press Ctrl-C", "the balance holds"} {
		if !strings.Contains(p.text(), want) {
			t.Errorf("%q is missing:\n%s", want, p.text())
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCtrlCWhileSettingTheScene(t *testing.T) {
	p := perform(t, "DEMO_SECONDS=20")
	p.shows("Kafka: a broker inside") // the relay is being built
	p.signal(syscall.SIGINT)
	p.end(1)
	p.leavesNothing()
	if !strings.Contains(p.text(), "interrupted before the first order") {
		t.Errorf("the output does not give the reason:\n%s", p.text())
	}
}

func TestKilledDemoLeavesNothing(t *testing.T) {
	p := perform(t, "DEMO_SECONDS=600")
	p.shows("1 granted\n")
	p.signal(syscall.SIGKILL)
	p.until("is cleaned up", func() bool { return p.over() && len(p.remains()) == 0 })
}

func (p *performance) signal(signal syscall.Signal) {
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
}
