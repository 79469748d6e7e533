package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"walpost/relay/postgres"
)

// How a silent walsender is checked. Two checks that do not find it at work take at most five seconds, including the time to connect.
const (
	checkLimit = 2 * time.Second        // for one check
	checkPause = 500 * time.Millisecond // after a check that does not find it at work; in this time it may send something
	checkEvery = time.Second            // while it is kept

	otherPause = 200 * time.Millisecond // within a check, after a connection that reached another server
)

// Silence decides what to do about a walsender that sends nothing, although each timed status asks it for a reply: it keeps the session, or
// ends it.
//
// A walsender that decodes may send nothing for as long as it works. Up to version 15 it neither sends nor reads while it skips the rows of
// a rewritten table. With a long wal_sender_timeout it reads nothing for half of that time. If the relay disconnected then, the next
// walsender would decode the same WAL from its beginning, fall silent at the same place, and the relay would disconnect again. So Silence
// asks the server over another connection what the walsender does.
type Silence struct {
	Limit    time.Duration                                    // how long the walsender may send nothing before it is checked
	Activity func(context.Context) (postgres.Activity, error) // reads what the walsender does, over another connection
	Kept     func(why string)                                 // called when a silent walsender is kept, and with "" when it sends again; may be nil
}

// ActivityAt returns a function for Silence.Activity that connects to the server at addr. If a load balancer there leads to another server,
// the function connects again until it reaches the walsender's server, or ctx ends.
func ActivityAt(connString func() string, addr net.Addr, id postgres.WalsenderID) func(context.Context) (postgres.Activity, error) {
	return func(ctx context.Context) (postgres.Activity, error) {
		for {
			activity, err := readActivity(ctx, connString(), addr, id)
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

func readActivity(ctx context.Context, connString string, addr net.Addr, id postgres.WalsenderID) (postgres.Activity, error) {
	db, err := postgres.ConnectTo(ctx, connString, addr)
	if err != nil {
		return postgres.Activity{}, err
	}
	defer db.Close()
	return postgres.ReadActivity(ctx, db, id)
}

// Watch checks the walsender whenever it has sent nothing for longer than Limit. If the walsender works, the session goes on. If it has
// ended, or if two checks in a row do not find it at work, Watch ends the session: the confirmer's fail interrupts the stream. Watch
// returns when the confirmer has ended or ctx is done.
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

// silent is one period of silence.
type silent struct {
	heard  int64 // when the server last sent something
	kept   bool  // the walsender was found at work, and Kept was called
	doubts int   // checks in a row that did not find it at work
}

// judge checks once, and returns the pause until the next check.
func (s *Silence) judge(ctx context.Context, c *Confirmer, now *silent) time.Duration {
	limited, cancel := context.WithTimeout(ctx, checkLimit)
	activity, err := s.Activity(limited)
	cancel()
	silence := c.Silence()
	if ctx.Err() != nil || c.heard.Load() != now.heard { // it has sent something meanwhile
		return 0
	}
	if err == nil && activity.Works() {
		s.keep(now, fmt.Sprintf("the walsender has sent nothing for %v; walpost waits for it, because %v", silence.Round(time.Millisecond), activity))
		now.doubts = 0
		return checkEvery
	}
	now.doubts++
	gone := err == nil && !activity.Present
	if now.doubts < 2 && !gone {
		return checkPause
	}
	said := fmt.Errorf("the server has sent nothing for %v", silence.Round(time.Millisecond))
	if err != nil {
		c.fail(fmt.Errorf("%w, and walpost cannot find out what its walsender does: %w", said, err))
	} else {
		c.fail(fmt.Errorf("%w, and its walsender does not work: %v", said, activity))
	}
	return checkEvery // the reader stops, and ends this goroutine
}

// keep calls Kept once with the reason why the walsender is kept, and once with "" when it sends again.
func (s *Silence) keep(now *silent, why string) {
	if now.kept != (why != "") && s.Kept != nil {
		s.Kept(why)
	}
	now.kept = why != ""
}
