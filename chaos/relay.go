package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"walpost/internal/testenv/child"
	"walpost/internal/testenv/poll"
	"walpost/internal/testenv/program"
)

// keeper keeps a relay running, as a service manager does. It starts a relay again that ended although nobody stopped it, and records that.
type keeper struct {
	home   *child.Home
	name   string // of its log files
	env    []string
	log    string // the file with the relay's output
	budget int64  // relay.max_in_flight_bytes

	mu       sync.Mutex
	options  program.Options
	process  *program.Relay
	stopping bool           // the relay has been stopped or killed, and is expected to end
	ended    []string       // why relays ended by themselves
	kills    int            // how many relays were killed by SIGKILL
	replaced int            // how many relays lost their slot to another one while they were paused
	paused   *program.Relay // the last one of these; nil: there is none
}

func newKeeper(home *child.Home, file, name string, env []string, budget int64) *keeper {
	log := home.Path(name + ".log")
	return &keeper{home: home, name: name, env: env, log: log, budget: budget, options: program.Options{File: file, Env: env, Log: log}}
}

// start starts a relay. None may be running.
func (k *keeper) start() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.startLocked()
}

func (k *keeper) startLocked() error {
	p, err := program.Start(k.home, k.options)
	if err != nil {
		return err
	}
	k.process, k.stopping = p, false
	k.options.Admin = p.Admin // the next relay listens there too
	go k.watch(p)
	return nil
}

// watch waits for the end of a relay, and starts it again if it ended by itself.
func (k *keeper) watch(p *program.Relay) {
	<-p.Done()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopping || k.process != p {
		return
	}
	k.ended = append(k.ended, fmt.Sprintf("%s: the relay ended by itself: %v\n%s", time.Now().Format("15:04:05.000"), p.Err(), child.LastLines(k.log, 5)))
	if err := k.startLocked(); err != nil {
		k.ended = append(k.ended, err.Error())
	}
}

// replace starts another program in place of a relay that has ended, with more environment variables.
func (k *keeper) replace(file string, env ...string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.options.File, k.options.Env = file, append(k.env[:len(k.env):len(k.env)], env...)
	return k.startLocked()
}

// overtake starts another relay while the present one is paused by SIGSTOP, and keeps the other one running from now on. It has a log and an
// admin server of its own. overtake returns the paused relay. When that goes on, it sends what it holds, although the other one has sent it.
func (k *keeper) overtake() (*program.Relay, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.process
	k.replaced++
	k.log = k.home.Path(fmt.Sprintf("%s-%d.log", k.name, k.replaced))
	k.options.Log, k.options.Admin = k.log, ""
	k.paused = before
	return before, k.startLocked()
}

// awaitLead waits until the relay streams.
func (k *keeper) awaitLead(ctx context.Context) error {
	return poll.Until(ctx, func() (bool, error) {
		metrics, err := k.current().Metrics(ctx)
		return err == nil && metrics["walpost_leader"] == 1, nil
	})
}

// settled waits until a relay that lost its slot while it was paused has ended or stands by, and ends it. A relay that ended by itself has to
// have said that another one has the slot.
func (k *keeper) settled(ctx context.Context, p *program.Relay) error {
	err := poll.Until(ctx, func() (bool, error) {
		if !p.Running() {
			return true, nil
		}
		_, text, err := p.Get(ctx, "/readyz")
		return err == nil && strings.Contains(text, `"standby"`), nil
	})
	if err != nil {
		return fmt.Errorf("the relay that lost its slot does not stand by: %w\n%s", err, child.LastLines(p.Log, 10))
	}
	if p.Running() {
		ctx, cancel := context.WithTimeout(ctx, leaving)
		defer cancel()
		if err := p.Terminate(ctx); err != nil {
			return fmt.Errorf("the relay that stood by, after SIGTERM: %w\n%s", err, child.LastLines(p.Log, 10))
		}
		return nil
	}
	if last := child.LastLines(p.Log, 5); !strings.Contains(last, slotTaken) {
		return fmt.Errorf("the relay that lost its slot ended for another reason: %v\n%s", p.Err(), last)
	}
	return nil
}

// slotTaken is in the log of a relay that ended because it lost its slot.
const slotTaken = "reason=slot_held"

// awaitEnd waits until the relay ends by itself with exit code 1, and names the cure in its last lines. It is not started again.
func (k *keeper) awaitEnd(ctx context.Context, cure string) error {
	p := k.current()
	select {
	case <-p.Done():
	case <-ctx.Done():
		return fmt.Errorf("the relay does not end by itself: %w\n%s", context.Cause(ctx), child.LastLines(p.Log, 10))
	}
	var exit *exec.ExitError
	if last := child.LastLines(p.Log, 10); !errors.As(p.Err(), &exit) || exit.ExitCode() != 1 || !strings.Contains(last, cure) {
		return fmt.Errorf("the relay ended with %v, not with exit code 1 and the cure %q\n%s", p.Err(), cure, last)
	}
	return nil
}

// close ends what runs.
func (k *keeper) close() {
	if k.current().Running() {
		k.kill()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.paused != nil && k.paused.Running() {
		k.paused.Kill()
	}
}

// clock returns how far the relay's clock is ahead, by the Date header of its HTTP server.
func (k *keeper) clock(ctx context.Context) (time.Duration, error) {
	res, _, err := k.current().Get(ctx, "/livez")
	if err != nil {
		return 0, err
	}
	at, err := http.ParseTime(res.Header.Get("Date"))
	return time.Until(at), err
}

// signal sends a signal that the relay survives.
func (k *keeper) signal(s syscall.Signal) error { return k.current().Signal(s) }

// kill ends the relay by SIGKILL, even if it is paused by SIGSTOP.
func (k *keeper) kill() {
	k.expectEnd()
	k.current().Kill()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kills++
}

// lost returns how many relays were killed so far, and how many lost their slot while they were paused.
func (k *keeper) lost() (killed, overtaken int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kills, k.replaced
}

// stop asks the relay to end by SIGTERM. It has to end with exit code 0.
func (k *keeper) stop(ctx context.Context) error {
	k.expectEnd()
	ctx, cancel := context.WithTimeout(ctx, leaving)
	defer cancel()
	if err := k.current().Terminate(ctx); err != nil {
		return fmt.Errorf("the relay after SIGTERM: %w\n%s", err, child.LastLines(k.log, 20))
	}
	return nil
}

// leaving is how long a relay may take to stop: its own shutdown_timeout of 5 s, and the time that a session needs to end.
const leaving = 30 * time.Second

func (k *keeper) expectEnd() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopping = true
}

func (k *keeper) current() *program.Relay {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.process
}

// awaitFull waits until the relay holds as many bytes as it may, except for one batch.
func (k *keeper) awaitFull(ctx context.Context) error {
	return poll.Until(ctx, func() (bool, error) {
		used, err := k.inFlight(ctx)
		return err == nil && used > float64(k.budget-256<<10), nil
	})
}

// inFlight returns walpost_inflight_bytes.
func (k *keeper) inFlight(ctx context.Context) (float64, error) {
	metrics, err := k.current().Metrics(ctx)
	if err != nil {
		return 0, err
	}
	used, there := metrics["walpost_inflight_bytes"]
	if !there {
		return 0, errors.New("the relay's metrics have no walpost_inflight_bytes")
	}
	return used, nil
}

// byItself returns why relays ended by themselves, one entry for each.
func (k *keeper) byItself() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ended
}

// memory returns the relay's peak resident memory since it was started, in bytes (VmHWM); 0: it is not running.
func (k *keeper) memory() int64 {
	p := k.current()
	if p == nil {
		return 0
	}
	return child.PeakRSS(p.PID())
}
