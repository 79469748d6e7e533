package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"walpost/relay/postgres"
)

// How a silent walsender is looked at. Two looks that do not find it at work take five seconds at most, connecting included.
const (
	lookLimit = 2 * time.Second        // one look
	lookPause = 500 * time.Millisecond // between a look that does not find it at work and the next, in which a word of it may come
	lookEvery = time.Second            // while it is kept

	otherPause = 200 * time.Millisecond // within a look, after a connection that reached another server
)

// Silence decides what becomes of a walsender that says nothing, although it is asked for an answer with each timed status.
//
// A walsender that decodes may be silent for as long as it works. Up to 15 it neither sends nor reads while it passes over the rows of a
// rewritten table; with a long wal_sender_timeout it reads nothing for half of that. To leave it then would make the next one decode the same
// WAL from its beginning, fall silent at the same place, and be left again. So somebody else is asked, over a connection of its own, what that
// process does.
type Silence struct {
	Limit time.Duration                                    // how long it may say nothing before it is looked at
	Look  func(context.Context) (postgres.Activity, error) // looks at it, over another connection
	Kept  func(why string)                                 // called when it is kept, and with "" when it speaks again; nil: nobody is told
}

// LookAt returns a Look that connects to the server at addr. A balancer that stands there may lead to another server: then it connects again
// until it finds the walsender's, or ctx ends.
func LookAt(connString func() string, addr net.Addr, id postgres.WalsenderID) func(context.Context) (postgres.Activity, error) {
	return func(ctx context.Context) (postgres.Activity, error) {
		for {
			activity, err := lookOnce(ctx, connString(), addr, id)
			if !errors.Is(err, postgres.ErrOtherServer) {
				return activity, err
			}
			select {
			case <-ctx.Done():
				return activity, err
			case <-time.After(otherPause):
			}
		}
	}
}

func lookOnce(ctx context.Context, connString string, addr net.Addr, id postgres.WalsenderID) (postgres.Activity, error) {
	db, err := postgres.ConnectTo(ctx, connString, addr)
	if err != nil {
		return postgres.Activity{}, err
	}
	defer db.Close()
	return postgres.ReadActivity(ctx, db, id)
}

// Watch looks at the walsender whenever it has said nothing for as long as it may. One that works is kept. One that is gone, or that two looks
// in a row do not find at work, ends the session, by the confirmer's interruption of the stream. It returns then, with the confirmer, or when
// ctx is done.
func (s *Silence) Watch(ctx context.Context, c *Confirmer) {
	var now silent
	for {
		if heard := c.heard.Load(); heard != now.heard {
			s.keep(&now, "")
			now = silent{heard: heard}
		}
		pause := s.Limit - c.Silence()
		if pause <= 0 {
			pause = s.judge(ctx, c, &now)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.done:
			return
		case <-time.After(pause):
		}
	}
}

// silent is one silence.
type silent struct {
	heard  int64 // when the last word before it came
	kept   bool  // the walsender was found at work, and that was told
	doubts int   // looks in a row that did not find it at work
}

// judge looks once, and returns when to go on.
func (s *Silence) judge(ctx context.Context, c *Confirmer, now *silent) time.Duration {
	limited, cancel := context.WithTimeout(ctx, lookLimit)
	activity, err := s.Look(limited)
	cancel()
	silence := c.Silence()
	if ctx.Err() != nil || c.heard.Load() != now.heard { // it spoke meanwhile
		return 0
	}
	if err == nil && activity.Works() {
		s.keep(now, fmt.Sprintf("the walsender has said nothing for %v and is kept: %v", silence.Round(time.Millisecond), activity))
		now.doubts = 0
		return lookEvery
	}
	now.doubts++
	gone := err == nil && !activity.Present
	if now.doubts < 2 && !gone {
		return lookPause
	}
	said := fmt.Errorf("the server has said nothing for %v", silence.Round(time.Millisecond))
	if err != nil {
		c.fail(fmt.Errorf("%w, and cannot be asked what its walsender does: %w", said, err))
	} else {
		c.fail(fmt.Errorf("%w, and its walsender does not work: %v", said, activity))
	}
	return lookEvery // the reader stops, and ends what runs beside it
}

// keep tells once that the walsender is kept, and why; "": that it speaks again.
func (s *Silence) keep(now *silent, why string) {
	if now.kept != (why != "") && s.Kept != nil {
		s.Kept(why)
	}
	now.kept = why != ""
}
