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

// catchSignals takes the signals that ask to stop from now on; release gives them back.
func catchSignals() (signals <-chan os.Signal, release func()) {
	c := make(chan os.Signal, 2)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	return c, func() { signal.Stop(c) }
}

// signalDebounce is how close two signals are when they are one request: timeout(1) and some supervisors signal a process, and then the
// group that it is in.
const signalDebounce = 50 * time.Millisecond

// runUntilStopped runs the relay until it ends: by itself, or because it is asked to by a signal, by ctx, or by a failed admin server. A
// second signal does not wait for it: delivery is at least once, so that is safe.
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
			log.Info("stopping: waiting for what is on its way; a second signal leaves at once", "signal", s.String())
			server.Leave()
			stop()
		}
	}
}
