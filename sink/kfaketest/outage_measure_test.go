package kfaketest

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// usage is the maximum of what this process has used since begin was called.
type usage struct {
	Heap       uint64 // bytes of heap that are in use, garbage and gaps included
	Total      uint64 // bytes of everything that the memory limit counts
	Goroutines uint64
}

// sampler measures what this process uses, until the test ends.
type sampler struct {
	samples []metrics.Sample

	mu   sync.Mutex
	most usage
}

// sampleEvery is how often the sampler measures.
const sampleEvery = 10 * time.Millisecond

func startSampler(t testing.TB) *sampler {
	s := &sampler{}
	for _, name := range []string{"/memory/classes/heap/objects:bytes", "/memory/classes/heap/unused:bytes",
		"/memory/classes/total:bytes", "/memory/classes/heap/released:bytes", "/sched/goroutines:goroutines"} {
		s.samples = append(s.samples, metrics.Sample{Name: name})
	}
	var work sync.WaitGroup
	stop := make(chan struct{})
	work.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				s.look()
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		work.Wait()
	})
	return s
}

// look takes a sample and returns it.
func (s *sampler) look() usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	metrics.Read(s.samples)
	v := func(i int) uint64 { return s.samples[i].Value.Uint64() }
	now := usage{Heap: v(0) + v(1), Total: v(2) - v(3), Goroutines: v(4)}
	s.most = usage{max(s.most.Heap, now.Heap), max(s.most.Total, now.Total), max(s.most.Goroutines, now.Goroutines)}
	return now
}

// begin resets the maximum and returns the previous one.
func (s *sampler) begin() usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.most
	s.most = usage{}
	return most
}

// settled returns what the process uses after garbage collection.
func (s *sampler) settled() usage {
	runtime.GC() // twice: pools keep what they have for one collection
	debug.FreeOSMemory()
	return s.look()
}

// processorTime returns the CPU time that this process has used.
func processorTime(t testing.TB) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// lineCounter is a log that only counts its lines.
type lineCounter struct {
	mu    sync.Mutex
	total int
	times map[subject][]time.Time
}

// subject is what a log line is about.
type subject struct{ topic, reason string }

// Enabled implements [slog.Handler].
func (l *lineCounter) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

var (
	namedTopic = regexp.MustCompile(`topic (\S+)`)
	digits     = regexp.MustCompile(`[0-9]+`)
)

// Handle implements [slog.Handler].
func (l *lineCounter) Handle(_ context.Context, r slog.Record) error {
	about := subject{reason: digits.ReplaceAllString(r.Message, "")}
	if m := namedTopic.FindStringSubmatch(r.Message); m != nil {
		about.topic = m[1]
	}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "topic":
			about.topic = a.Value.String()
		case "reason":
			about.reason = a.Value.String()
		}
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	l.times[about] = append(l.times[about], r.Time)
	return nil
}

// WithAttrs implements [slog.Handler].
func (l *lineCounter) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements [slog.Handler].
func (l *lineCounter) WithGroup(string) slog.Handler { return l }

// most returns the maximum number of lines of one topic and reason within a minute, what they are about, and how many lines there are in
// total. A line may be written a little later than the producer thinks.
func (l *lineCounter) most() (n int, about subject, total int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for a, times := range l.times {
		if a.topic == "" {
			continue
		}
		for i, first := range times {
			within := 1
			for _, t := range times[i+1:] {
				if t.Sub(first) < time.Minute-time.Second {
					within++
				}
			}
			if within > n {
				n, about = within, a
			}
		}
	}
	return n, about, l.total
}

// counter returns the value of a counter of the sink's.
func counter(t testing.TB, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// figures are what was measured.
type figures []figure

type figure struct {
	value float64
	unit  string
}

func (f figures) String() string {
	var b strings.Builder
	for _, x := range f {
		fmt.Fprintf(&b, "\n%14.2f %s", x.value, x.unit)
	}
	return b.String()
}
