package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"walpost/cmd/walpost/internal/admin"
	"walpost/internal/reason"
)

// quietly is a command line of run that uses no port.
var quietly = []string{"run", "-X", "client.id=test", "-c", "quiet.yaml"}

// kill sends the signal to this process, in which the program under test handles it.
func kill(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}

func TestFirstSignalLeavesCleanly(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			quiet(t)
			fake := newFake(func(ctx context.Context) error { <-ctx.Done(); return nil })
			p := start(t.Context(), fake.instead, quietly...)
			fake.awaitRunning(t, p)
			kill(t, s)
			if code := p.exit(t); code != 0 {
				t.Errorf("exit %d; stderr:\n%s", code, &p.stderr)
			}
			p.logged(t, "walpost stopped")
		})
	}
}

func TestSecondSignalLeavesAtOnce(t *testing.T) {
	quiet(t)
	told, hang := make(chan struct{}), make(chan struct{})
	defer close(hang)
	fake := newFake(func(ctx context.Context) error { <-ctx.Done(); close(told); <-hang; return nil })
	p := start(t.Context(), fake.instead, quietly...)
	fake.awaitRunning(t, p)
	kill(t, syscall.SIGTERM)
	<-told
	select {
	case code := <-p.code:
		t.Fatalf("exit %d after the first signal, while the relay is still leaving", code)
	default:
	}
	// One more signal may arrive after the program has ended and no longer handles signals, or even after this test.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
	code := -1
	eventually(t, func() error { // the first signal after signalDebounce counts as the second
		kill(t, syscall.SIGTERM)
		select {
		case code = <-p.code:
			return nil
		default:
			return errors.New("it is still leaving")
		}
	})
	if code != exitSecondSignal {
		t.Errorf("exit %d", code)
	}
	if line := p.logged(t, "walpost ends"); line["err"] != errSecondSignal.Error() || line["reason"] != "second_signal" {
		t.Errorf("said: %v", line["err"])
	}
}

// A signal that comes twice in a moment, as from timeout(1), counts once.
func TestSignalsAtOnceAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		fake := newFake(func(ctx context.Context) error { <-ctx.Done(); <-hang; return nil })
		signals, ended := make(chan os.Signal), make(chan error, 1)
		go func() {
			ended <- runUntilStopped(t.Context(), fake, &admin.Server{}, signals, slog.New(slog.DiscardHandler))
		}()
		signals <- syscall.SIGTERM
		time.Sleep(signalDebounce - 1) // by the clock of the synctest bubble
		signals <- syscall.SIGTERM
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("left: %v", err)
		default:
		}
		time.Sleep(time.Nanosecond)
		signals <- syscall.SIGTERM
		if err := <-ended; err != errSecondSignal {
			t.Fatalf("left: %v", err)
		}
		close(hang)
	})
}

func TestEndOfContextIsASignal(t *testing.T) {
	quiet(t)
	ctx, cancel := context.WithCancel(t.Context())
	fake := newFake(func(ctx context.Context) error { <-ctx.Done(); return nil })
	p := start(ctx, fake.instead, quietly...)
	fake.awaitRunning(t, p)
	cancel()
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d; stderr:\n%s", code, &p.stderr)
	}
}

func TestRelayThatFails(t *testing.T) {
	quiet(t)
	fake := newFake(func(context.Context) error {
		return fmt.Errorf("relay: %w", reason.With(reason.SlotLost, errors.New("slot walpost: lost; run: walpost resync")))
	})
	p := start(t.Context(), fake.instead, quietly...)
	if code := p.exit(t); code != 1 {
		t.Errorf("exit %d", code)
	}
	if line := p.logged(t, "walpost ends"); line["err"] != "relay: slot walpost: lost; run: walpost resync" || line["reason"] != "slot_lost" || line["level"] != "ERROR" {
		t.Errorf("said: %v", line)
	}
	if p.stdout.String() != "" {
		t.Errorf("stdout: %s", &p.stdout)
	}
}

func TestStartSaysWhatItDoesNotDo(t *testing.T) {
	quiet(t)
	run := func() *process {
		p := start(t.Context(), newFake(func(context.Context) error { return nil }).instead, quietly...)
		p.exit(t)
		p.logged(t, "walpost starts")
		return p
	}
	p := run()
	if out := p.stderr.String(); strings.Contains(out, "read_back") || strings.Contains(out, "park") {
		t.Errorf("it speaks of what nobody has set:\n%s", out)
	}
	const position = "outbox.position_header has no effect in this profile: records have ce_sequence instead"
	if strings.Contains(p.stderr.String(), position) {
		t.Error("it speaks of outbox.position_header, which nobody has set")
	}
	t.Setenv("WALPOST_OUTBOX_POSITION_HEADER", "false")
	run().logged(t, position)
	t.Setenv("WALPOST_OUTBOX_PROFILE", "debezium")
	if strings.Contains(run().stderr.String(), position) {
		t.Error("it logs that outbox.position_header has no effect, although it has")
	}
}

func TestAddressInUse(t *testing.T) {
	clean(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	t.Setenv("WALPOST_ADMIN_LISTEN", taken.Addr().String())
	fake := newFake(func(context.Context) error { return nil })
	p := start(t.Context(), fake.instead, "run")
	if code := p.exit(t); code != exitUsage {
		t.Errorf("exit %d", code)
	}
	want := "start admin server: admin.listen: " + taken.Addr().String() + " is used by another process, perhaps another walpost; " +
		`stop that process, or set another address ("" for no server)`
	if line := p.logged(t, "walpost ends"); line["err"] != want || line["reason"] != "admin_server" {
		t.Errorf("said\n%v\nwant\n%s", line["err"], want)
	}
}

func TestLogs(t *testing.T) {
	for _, test := range []struct{ flags, want, not string }{
		{flags: "", want: `"msg":"walpost starts"`},
		{flags: "--log-format=text", want: `msg="walpost starts"`},
		{flags: "--log-level=warn", not: "walpost starts"},
	} {
		quiet(t)
		fake := newFake(func(context.Context) error { return nil })
		p := start(t.Context(), fake.instead, append(quietly, strings.Fields(test.flags)...)...)
		if code := p.exit(t); code != 0 {
			t.Errorf("exit %d", code)
		}
		if out := p.stderr.String(); !strings.Contains(out, test.want) || test.not != "" && strings.Contains(out, test.not) {
			t.Errorf("%q: %s", test.flags, out)
		}
	}
}
