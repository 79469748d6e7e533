package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// schedule has the kernel scheduler's figures of a thread or a process so far.
type schedule struct {
	ran    time.Duration
	waited time.Duration // for a processor, ready to run
}

// parseSchedule reads the text of a schedstat file.
func parseSchedule(text []byte) (s schedule, err error) {
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return s, fmt.Errorf("read schedstat %q: want at least two numbers", text)
	}
	ran, err1 := strconv.ParseInt(fields[0], 10, 64)
	waited, err2 := strconv.ParseInt(fields[1], 10, 64)
	return schedule{time.Duration(ran), time.Duration(waited)}, errors.Join(err1, err2)
}

// waitedForCPU returns how long the present threads of a process have waited for a processor; 0 if the kernel does not report it.
func waitedForCPU(pid int) (sum time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			s, _ := parseSchedule(text)
			sum += s.waited
		}
	}
	return sum
}

// walsenderWatch samples what a walsender does, for the stage that the relay's trace cannot cover.
type walsenderWatch struct {
	cancel context.CancelFunc
	work   sync.WaitGroup
	errs   [2]error

	times  []timed[schedule]
	events []timed[string] // wait events; "": it runs, or is ready to run
}

type timed[T any] struct {
	at    time.Time
	value T
}

// Pauses between two samples.
const (
	schedulePause = time.Millisecond
	eventPause    = 4 * time.Millisecond // each one is a query
)

// watchWalsender begins to sample the walsender with the process id pid.
func watchWalsender(ctx context.Context, dsn string, pid int) *walsenderWatch {
	ctx, cancel := context.WithCancel(ctx)
	w := &walsenderWatch{cancel: cancel}
	w.work.Go(func() { w.errs[0] = w.sampleSchedule(ctx, pid) })
	w.work.Go(func() { w.errs[1] = w.sampleEvents(ctx, dsn, pid) })
	return w
}

// end ends the sampling. The samples may be read only after that.
func (w *walsenderWatch) end() error {
	w.cancel()
	w.work.Wait()
	return errors.Join(w.errs[:]...)
}

func (w *walsenderWatch) sampleSchedule(ctx context.Context, pid int) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return nil // not every kernel has this file
	}
	defer f.Close()
	runtime.LockOSThread()
	var buf [128]byte
	for ctx.Err() == nil {
		n, err := f.ReadAt(buf[:], 0)
		if n == 0 {
			return fmt.Errorf("read %s: %w", f.Name(), err)
		}
		s, err := parseSchedule(buf[:n])
		if err != nil {
			return err
		}
		w.times = append(w.times, timed[schedule]{time.Now(), s})
		sleep(schedulePause)
	}
	return nil
}

func (w *walsenderWatch) sampleEvents(ctx context.Context, dsn string, pid int) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for ctx.Err() == nil {
		var event string
		err := conn.QueryRow(ctx, "SELECT coalesce(wait_event, '') FROM pg_stat_get_activity($1)", pid).Scan(&event)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ask for the walsender's wait event: %w", err)
		}
		w.events = append(w.events, timed[string]{time.Now(), event})
		sleep(eventPause)
	}
	return nil
}

// between returns the scheduler's figures of the walsender for a period of time, as exact as the samples are, and its most frequent wait event;
// "": it had none.
func (w *walsenderWatch) between(from, to time.Time) (s schedule, event string) {
	if len(w.times) > 0 {
		a, b := w.times[index(w.times, from)].value, w.times[min(index(w.times, to)+1, len(w.times)-1)].value
		s = schedule{min(b.ran-a.ran, to.Sub(from)), min(b.waited-a.waited, to.Sub(from))}
	}
	seen := map[string]int{}
	for i := index(w.events, from); i < len(w.events) && !w.events[i].at.After(to); i++ {
		if one := w.events[i]; one.value != "" && !one.at.Before(from) {
			if seen[one.value]++; seen[one.value] > seen[event] {
				event = one.value
			}
		}
	}
	return s, event
}

// index returns the index of the last sample that is not after t, or 0.
func index[T any](samples []timed[T], t time.Time) int {
	i, _ := slices.BinarySearchFunc(samples, t, func(s timed[T], t time.Time) int { return s.at.Compare(t) })
	return max(0, i-1)
}
