// Command demo is the story that walpost exists for, on real SQL.
//
// An order service writes orders and their events into Postgres, one
// transaction each. walpost, a process of its own, carries the events to
// Kafka. A stock and a points service consume them, each with a database of
// its own. Orders are rolled back; an order client, the relay and a consumer
// are killed; at the end the books must balance all the same.
//
// It runs for DEMO_SECONDS, 30 by default, and 0 means until Ctrl-C. It exits
// 0 when the balance holds. Postgres is a throwaway server, Kafka an embedded broker: nothing is
// installed and nothing is left behind.
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

// run sets the scene, plays, settles, does the books, and clears away
// whatever happened. The show ends with its time, with a signal or with
// whoever started us; ctx ends only when something fails, so that what is
// under way can be brought to its end.
func run(screen *screen) (err error) {
	length, err := showLength(os.Getenv("DEMO_SECONDS"))
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(context.Background())
	defer fail(nil)
	show, endShow := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer endShow()
	context.AfterFunc(show, endShow) // a second signal ends us at once; watchers clear away
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

// perform is the whole play.
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
	<-ordered // what is committed by now is to have its effect
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

// blame prefers the failure that ended ctx to what came of it.
func blame(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// usualLength is long enough to read every act.
const usualLength = 30 * time.Second

// showLength reads DEMO_SECONDS; 0 is until Ctrl-C.
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

// endWithParent ends the show when `go run` is gone: it does not pass on a
// SIGTERM, and nobody would be left to press Ctrl-C.
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
