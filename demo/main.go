// Command demo shows what walpost does, with real SQL and real faults.
//
// An order service writes each order and its event into Postgres, in one
// transaction. walpost, a process of its own, publishes the events to Kafka. A
// stock service and a points service consume them, each with a database of its
// own. Some orders are rolled back. An order client, the relay and a consumer
// are killed. One order is larger than Kafka takes, and is parked for a while.
// At the end, each committed order must have had its effects once.
//
// It runs for DEMO_SECONDS, 30 by default; 0 means until Ctrl-C. It exits with
// 0 if the balance holds. Postgres is a throwaway server, and Kafka an embedded
// broker. The demo installs nothing and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	var err error
	if len(os.Args) == 3 && os.Args[1] == doomedArgument {
		err = doomedClient(os.Args[2])
	} else {
		err = run(newScreen(os.Stdout))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run starts everything, plays the show, checks the balance, and cleans up in
// any case. The show ends after its time, on a signal, or with the parent
// process. ctx ends only if something fails, so that open work can be finished
// after the show.
func run(screen *screen) (err error) {
	length, err := showLength(os.Getenv("DEMO_SECONDS"))
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(context.Background())
	defer fail(nil)
	show, endShow := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer endShow()
	context.AfterFunc(show, endShow) // a second signal ends the demo at once; watchers clean up
	go endWithParent(show, endShow)

	scene, err := setScene(show, screen)
	defer func() { err = errors.Join(err, scene.close()) }()
	if err != nil && show.Err() != nil {
		return errors.New("interrupted before the first order")
	}
	if err != nil {
		return err
	}
	if length > 0 {
		var cancel context.CancelFunc
		show, cancel = context.WithTimeout(show, length)
		defer cancel()
	}
	if err := scene.perform(ctx, show, fail, length); err != nil {
		return blame(ctx, err)
	}
	return nil
}

// perform plays the whole show.
func (s *scene) perform(ctx, show context.Context, fail context.CancelCauseFunc, length time.Duration) error {
	if err := s.relay.start(ctx, fail); err != nil {
		return err
	}
	s.screen.say("walpost run: streaming from its slot")
	s.screen.say("%s", ending(length))
	for _, service := range s.services {
		service.start(ctx, fail)
	}
	ordered := s.orders.start(show, fail)
	if err := s.play(ctx, show, fail, length); err != nil {
		return err
	}
	<-ordered // every order that is committed by now must have its effect
	if err := s.settle(ctx); err != nil {
		return err
	}
	if err := s.account(ctx); err != nil {
		return err
	}
	s.screen.next()
	return nil
}

// ending tells the audience how the show ends.
func ending(length time.Duration) string {
	if length == 0 {
		return "the show goes on until you press Ctrl-C; then the balance follows"
	}
	return fmt.Sprintf("the show takes %v, and Ctrl-C ends it earlier; DEMO_SECONDS=n sets another length, 0 none", length)
}

// blame returns the failure that ended ctx, if there is one, and not an error
// that followed from it.
func blame(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// usualLength is long enough to read every act.
const usualLength = 30 * time.Second

// showLength parses DEMO_SECONDS; 0 means until Ctrl-C.
func showLength(text string) (time.Duration, error) {
	if text == "" {
		return usualLength, nil
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 0 || seconds > 86400 {
		return 0, fmt.Errorf("DEMO_SECONDS=%s is not a number of seconds: write 1 to 86400, or 0 to run until Ctrl-C", text)
	}
	return time.Duration(seconds) * time.Second, nil
}

// endWithParent ends the show when `go run` has ended. `go run` does not pass a
// SIGTERM on, and then nobody could press Ctrl-C.
func endWithParent(show context.Context, endShow func()) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for parent := os.Getppid(); os.Getppid() == parent; {
		select {
		case <-show.Done():
			return
		case <-tick.C:
		}
	}
	endShow()
}
