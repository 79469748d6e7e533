package main

import (
	"context"
	"fmt"
	"time"
)

// act is one thing that goes wrong. It returns when the wrong is over, also
// if the show has ended meanwhile.
type act struct {
	name string
	line string // what the audience should look at
	play func(ctx, show context.Context) error
}

func (s *scene) acts(fail context.CancelCauseFunc, outage time.Duration) []act {
	return []act{
		{
			"an order client dies between its two inserts (kill -9)",
			"its order is in the table, its event is not: Postgres rolls back, and neither ever happened",
			func(ctx, _ context.Context) error { return s.orders.killBetweenInserts(ctx) },
		}, {
			"the relay dies (kill -9)",
			"orders go on; what it had not confirmed is still in its slot, and comes, perhaps once more, when it is back",
			func(ctx, show context.Context) error {
				s.relay.kill()
				pause(show, outage)
				s.screen.say("the relay is started again")
				return s.relay.start(ctx, fail)
			},
		}, {
			"the stock service dies after its database commit, before its Kafka commit",
			"Kafka will bring that order again, and claim() will say that it is done",
			func(ctx, show context.Context) error {
				if !s.stock.kill(show) {
					return nil // no order came any more
				}
				pause(show, outage)
				s.screen.say("the stock service is started again")
				s.stock.start(ctx, fail)
				return nil
			},
		},
	}
}

// play runs the acts, spread evenly over the show, or again and again when it
// has no length.
func (s *scene) play(ctx, show context.Context, fail context.CancelCauseFunc, length time.Duration) error {
	s.screen.act("orders flow", "every committed order has its effect in stock and in points once; a declined payment rolls order and event back")
	s.screen.say("   events: topic/partition@offset, milliseconds since the commit (now and then quicker than the shop's own line)")
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
		// By the clock, so that a slow act takes its time from the pause
		// behind it and not from the last act.
		pause(show, time.Until(start.Add(time.Duration(n+1)*interval)))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if show.Err() != nil {
			for _, act := range acts[min(n, len(acts)):] {
				s.screen.say("left out, the show is over: %s", act.name)
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

// settle lets everything that was committed have its effect: the relay
// carries what is left and stops cleanly, the services read to the end.
func (s *scene) settle(ctx context.Context) error {
	s.screen.act("no more orders", "what is under way arrives, the relay is stopped by SIGTERM, the services read to the end of the topic")
	arrived := until(ctx, "every order has arrived", func(ctx context.Context) (bool, error) {
		b, err := s.balance(ctx)
		return err == nil && b.missing() == 0, err
	})
	if ctx.Err() != nil {
		return arrived
	}
	if arrived != nil { // the books will say what did not
		s.screen.say("%v; the relay's last words:\n%s", arrived, s.relay.lastWords())
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
