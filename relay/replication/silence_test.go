package replication

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walpost/relay/postgres"
)

var (
	working = postgres.Activity{Present: true, Visible: true}
	waiting = postgres.Activity{Present: true, Visible: true, EventType: "Client", Event: "WalSenderWaitForWAL"}
)

// silentServer is a server that sends nothing, and the results of the checks of its walsender.
type silentServer struct {
	*recordedConfirmer
	end func()

	mu       sync.Mutex
	activity postgres.Activity
	err      error
	hangs    bool // a check gets no answer
	looks    int
	kept     []string
}

const silenceLimit = 15 * time.Second

func startSilence(t *testing.T, found postgres.Activity) *silentServer {
	s := &silentServer{recordedConfirmer: startConfirmer(t), activity: found}
	w := Silence{Limit: silenceLimit, Activity: s.answer, Kept: func(why string) { s.mu.Lock(); s.kept = append(s.kept, why); s.mu.Unlock() }}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Watch(ctx, s.Confirmer) }()
	s.end = func() { cancel(); <-ended }
	t.Cleanup(s.end)
	return s
}

func (s *silentServer) answer(ctx context.Context) (postgres.Activity, error) {
	s.mu.Lock()
	s.looks++
	activity, err, hangs := s.activity, s.err, s.hangs
	s.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return postgres.Activity{}, ctx.Err()
	}
	return activity, err
}

func (s *silentServer) set(activity postgres.Activity, err error, hangs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.activity, s.err, s.hangs = activity, err, hangs
}

// looked returns the number of checks so far.
func (s *silentServer) looked() int {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

func (s *silentServer) wantKept(t *testing.T, n int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) != n {
		t.Errorf("Kept was called with %q, want %d calls", s.kept, n)
	}
}

// TestSilentAtWork: the session goes on as long as the walsender works. Kept is called once at the beginning, and once when the walsender
// sends again.
func TestSilentAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startSilence(t, working)
		time.Sleep(silenceLimit - time.Millisecond)
		if n := s.looked(); n > 0 {
			t.Errorf("%d checks before it was silent for long", n)
		}
		time.Sleep(time.Hour)
		sent, _, failed := s.look()
		if failed != nil {
			t.Fatalf("ended: %v", failed)
		}
		if len(sent) < 720 {
			t.Errorf("%d statuses in an hour", len(sent))
		}
		s.wantKept(t, 1)
		s.Hear()
		time.Sleep(2 * checkEvery)
		synctest.Wait()
		s.wantKept(t, 2)
		if !strings.Contains(s.kept[0], "because it works") || s.kept[1] != "" {
			t.Errorf("Kept was called with %q", s.kept)
		}
		looks := s.looked()
		for range 10 {
			s.Hear()
			time.Sleep(silenceLimit - time.Second)
		}
		if n := s.looked() - looks; n > 0 {
			t.Errorf("%d checks of a walsender that sends", n)
		}
		s.wantKept(t, 2)
	})
}

// TestSilentForNoReason: the session ends within five seconds if the walsender has ended, waits for walpost, cannot be seen, or cannot be
// checked.
func TestSilentForNoReason(t *testing.T) {
	for name, c := range map[string]struct {
		activity postgres.Activity
		err      error
		hangs    bool
		says     string
	}{
		"waits":         {activity: waiting, says: "waits for walpost (Client: WalSenderWaitForWAL)"},
		"gone":          {says: "it has ended"},
		"not visible":   {activity: postgres.Activity{Present: true}, says: "may not see"},
		"refused":       {err: errors.New("connection refused"), says: "connection refused"},
		"not answering": {hangs: true, says: "cannot find out"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, worked := range []bool{false, true} { // the walsender worked before
					s := startSilence(t, working)
					from := silenceLimit
					if worked {
						time.Sleep(silenceLimit + time.Minute)
						synctest.Wait()
						from = time.Since(s.begun) + checkEvery
					}
					s.set(c.activity, c.err, c.hangs)
					time.Sleep(from - time.Since(s.begun) - time.Millisecond)
					if _, _, failed := s.look(); !worked && failed != nil {
						t.Errorf("ended too early: %v", failed)
					}
					time.Sleep(5 * time.Second)
					_, _, failed := s.look()
					if failed == nil || !strings.Contains(failed.Error(), "the server has sent nothing for") || !strings.Contains(failed.Error(), c.says) {
						t.Errorf("worked before: %v; ended with %v", worked, failed)
					}
					s.end()
					s.End(false)
				}
			})
		})
	}
}

// TestSilentBetweenLooks: one check that finds a walsender waiting proves nothing, because it may have finished its work just then. If it
// sends something or works again, the doubt is cleared.
func TestSilentBetweenLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startSilence(t, waiting)
		time.Sleep(silenceLimit + checkPause/2)
		synctest.Wait()
		s.Hear()
		time.Sleep(silenceLimit - time.Second)
		if _, _, failed := s.look(); failed != nil || s.looked() != 1 {
			t.Fatalf("ended although it sent something: %v, %d checks", failed, s.looked())
		}
		s.set(working, nil, false)
		time.Sleep(time.Minute)
		for _, found := range []postgres.Activity{waiting, working, waiting, working} {
			n := s.looked() // a check at this moment is over
			s.set(found, nil, false)
			for s.looked() == n {
				time.Sleep(checkPause / 5)
			}
		}
		if _, _, failed := s.look(); failed != nil {
			t.Errorf("ended by checks that were not in a row: %v", failed)
		}
		s.Hold(true) // the reader stops reading: silence means nothing
		s.set(waiting, nil, false)
		time.Sleep(time.Hour)
		if _, _, failed := s.look(); failed != nil {
			t.Errorf("ended while the reader did not read: %v", failed)
		}
	})
}
