package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"walpost/cmd/walpost/internal/admin"
	"walpost/internal/reason"
)

// catchSignals returns a channel that receives SIGTERM and SIGINT, until release is called.
func catchSignals() (signals <-chan os.Signal, release func()) {
	c := make(chan os.Signal, 2)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	return c, func() { signal.Stop(c) }
}

// signalDebounce is the time within which two signals count as one request: timeout(1) and some supervisors signal a process, and then its
// process group.
const signalDebounce = 50 * time.Millisecond

// runUntilStopped runs the relay until it ends by itself, or until a signal, ctx or a failed admin server ends it. After a second signal it
// returns without waiting for the relay: that is safe, because delivery is at least once.
func runUntilStopped(ctx context.Context, r runner, server *admin.Server, signals <-chan os.Signal, log *slog.Logger) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(running) }()
	var asked time.Time
	for {
		select {
		case err := <-ended:
			return err
		case err := <-server.Failed():
			stop()
			<-ended
			return reason.With(reason.AdminServer, fmt.Errorf("serve admin.listen: %w", err))
		case s := <-signals:
			switch {
			case asked.IsZero():
				asked = time.Now()
			case time.Since(asked) < signalDebounce:
				continue
			default:
				return errSecondSignal
			}
			log.Info("stopping: waiting for events in flight; a second signal stops at once", "signal", s.String())
			server.SetStopping()
			stop()
		}
	}
}
