package main

import (
	"context"
	"fmt"
	"time"
)

// act is one thing that goes wrong. play returns when it is over, even if the
// show has ended meanwhile.
type act struct {
	name string
	line string // what to watch
	play func(ctx, show context.Context) error
}

func (s *scene) acts(fail context.CancelCauseFunc, outage time.Duration) []act {
	return []act{
		{
			"an order client dies between its two inserts (kill -9)",
			"its order is inserted, its event is not: Postgres rolls back, and neither is committed",
			func(ctx, _ context.Context) error { return s.orders.killBetweenInserts(ctx) },
		}, {
			"the relay dies (kill -9)",
			"orders go on; events that it had not confirmed stay in its slot, and are delivered, perhaps again, when it is back",
			func(ctx, show context.Context) error {
				s.relay.kill()
				pause(show, outage)
				s.screen.say("the relay is started again")
				return s.relay.start(ctx, fail)
			},
		}, {
			"ada orders a gift with a letter that is too long for Kafka",
			"the event is parked in walpost.dead_letters; ada's later orders wait behind it, and those of all other customers flow",
			func(ctx, show context.Context) error { return s.park(ctx, show, outage) },
		}, {
			"the stock service dies after its database commit, before its Kafka commit",
			"Kafka delivers that order again, and claim() says that it is done already",
			func(ctx, show context.Context) error {
				if !s.stock.kill(show) {
					return nil // no more orders came
				}
				pause(show, outage)
				s.screen.say("the stock service is started again")
				s.stock.start(ctx, fail)
				return nil
			},
		},
	}
}

// The topic's max.message.bytes during an act, and otherwise.
const (
	letterLimit = 2000
	usualLimit  = 1 << 20
)

// park makes Kafka refuse an order, and gives it back when Kafka takes it.
func (s *scene) park(ctx, show context.Context, wait time.Duration) error {
	if err := s.broker.limit(ctx, letterLimit); err != nil {
		return err
	}
	if err := s.orders.placeLarge(ctx); err != nil {
		return err
	}
	err := until(ctx, "the event is parked", func(ctx context.Context) (bool, error) {
		n, err := s.relay.parked(ctx)
		return n > 0, err
	})
	if err != nil {
		return err
	}
	pause(show, wait)
	n, err := s.relay.parked(ctx)
	if err != nil {
		return err
	}
	s.screen.say("parked: %d events of ada; now max.message.bytes is raised, and: walpost dead-letter retry --all", n)
	if err := s.broker.limit(ctx, usualLimit); err != nil {
		return err
	}
	if err := s.relay.retry(ctx); err != nil {
		return err
	}
	return until(ctx, "everything that was parked is published", func(ctx context.Context) (bool, error) {
		n, err := s.relay.parked(ctx)
		return n == 0, err
	})
}

// play runs the acts, spread evenly over the show. If the show has no length, it
// runs them again and again.
func (s *scene) play(ctx, show context.Context, fail context.CancelCauseFunc, length time.Duration) error {
	s.screen.act("orders flow", "every committed order has its effect in stock and in points once; a declined payment rolls back order and event")
	s.screen.say("   events: topic/partition@offset, milliseconds since the commit (sometimes an event is shown before its order)")
	const every = 5 * time.Second
	interval, outage := every, 2*time.Second
	acts := s.acts(fail, outage)
	if length > 0 {
		interval = length / time.Duration(len(acts)+1)
		acts = s.acts(fail, min(outage, interval/2))
	}
	start := time.Now()
	for n := 0; ; n++ {
		act := acts[n%len(acts)]
		if length > 0 && n == len(acts) {
			<-show.Done()
			return ctx.Err()
		}
		// By the clock, so that a slow act shortens the pause after it, and
		// not the last act.
		pause(show, time.Until(start.Add(time.Duration(n+1)*interval)))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if show.Err() != nil {
			for _, act := range acts[min(n, len(acts)):] {
				s.screen.say("left out, because the show is over: %s", act.name)
			}
			return nil
		}
		s.screen.act(act.name, act.line)
		if err := act.play(ctx, show); err != nil {
			return fmt.Errorf("act %q: %w", act.name, err)
		}
	}
}

// pause waits, but not beyond the end of the show.
func pause(show context.Context, d time.Duration) {
	select {
	case <-show.Done():
	case <-time.After(d):
	}
}

// settle waits until every committed order has had its effect. The relay
// delivers the rest and stops cleanly, and the services read to the end.
func (s *scene) settle(ctx context.Context) error {
	s.screen.act("no more orders", "the last events arrive, the relay is stopped by SIGTERM, the services read to the end of the topic")
	arrived := until(ctx, "every order has arrived", func(ctx context.Context) (bool, error) {
		b, err := s.balance(ctx)
		return err == nil && b.missing() == 0, err
	})
	if ctx.Err() != nil {
		return arrived
	}
	if arrived != nil { // the balance shows which did not
		s.screen.say("%v; the end of the relay's log:\n%s", arrived, s.relay.logTail())
	}
	if err := s.relay.stop(ctx); err != nil {
		return err
	}
	for _, service := range s.services {
		err := until(ctx, service.name+" has read the topic to its end", func(context.Context) (bool, error) {
			return s.broker.drained(service.name), nil
		})
		if err != nil {
			return err
		}
		service.stop()
	}
	return nil
}
