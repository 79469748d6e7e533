package replication

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"walpost/relay/internal/frame"
)

func TestStreamSurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, server, marks := pipe(t)
		write := func(n int, pause time.Duration) {
			for range n {
				server.Write([]byte{0})
				time.Sleep(pause)
			}
		}
		fill := func(n int) {
			for range n {
				if err := s.Fill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		go write(40, time.Millisecond)
		fill(40)
		if s.surge.on || len(*marks) > 0 {
			t.Errorf("slow reads began a surge: %v", *marks)
		}
		time.Sleep(time.Second)
		const burst = 800 // messages of a quarter of a second, as a walsender sends them after it waited for a processor
		go write(burst, 0)
		fill(burst)
		if s.surge.on || s.surge.flowing() || len(*marks) > 0 {
			t.Errorf("a burst began a surge: %v", *marks)
		}
		time.Sleep(time.Second)
		go write(2*surgeFirst, 0)
		fill(2 * surgeFirst)
		if !s.surge.on || !s.surge.flowing() || !slices.Equal(*marks, []int{surgeMark}) {
			t.Errorf("fast reads began no surge: %v", *marks)
		}
		start := time.Now()
		go func() { time.Sleep(time.Minute); write(1, 0) }()
		fill(1)
		if s.surge.on || !slices.Equal(*marks, []int{surgeMark, 1}) {
			t.Errorf("the surge did not end: %v", *marks)
		}
		if d := time.Since(start); d != time.Minute {
			t.Errorf("waited for %v", d)
		}

		// The next surge of the row needs few reads.
		go write(surgeReads-1, 0)
		fill(surgeReads - 1)
		if s.surge.on || s.surge.flowing() {
			t.Error("a minute after a surge, Flowing is true")
		}
		time.Sleep(time.Second)
		surge := func() {
			t.Helper()
			go write(2*surgeFirst, 0)
			fill(2 * surgeFirst)
			if !s.surge.on {
				t.Fatal("fast reads began no surge")
			}
			go func() { time.Sleep(surgeWait + time.Millisecond); write(1, 0) }()
			fill(1)
		}
		surge()
		if s.surge.on || !s.surge.flowing() {
			t.Error("right after a surge, Flowing is false")
		}
		go write(surgeReads-1, 0)
		fill(surgeReads - 1)
		if !s.surge.on {
			t.Error("fast reads right after a surge began no other")
		}

		// A pause of some milliseconds does not end the row.
		for _, pause := range []time.Duration{surgeRowLasts / 2, 2 * surgeRowLasts} {
			go func() { time.Sleep(surgeWait + time.Millisecond); write(1, 0) }()
			fill(1)
			time.Sleep(pause)
			go write(2*surgeReads, 0)
			fill(2 * surgeReads)
			if s.surge.on != (pause < surgeRowLasts) {
				t.Errorf("after a pause of %v: a surge is on: %v", pause, s.surge.on)
			}
		}
	})
}

// TestStreamTail: bytes that arrive in a surge and stay below the low-water mark are read within the deadline, and nothing is lost.
func TestStreamTail(t *testing.T) {
	client, server := loopback(t)
	defer client.Close()
	defer server.Close()
	s := NewStream(client, nil)
	surges := 0
	if set := s.mark; set != nil {
		s.mark = func(n int) error {
			if n > 1 {
				surges++
			}
			return set(n)
		}
	}
	const total = 50_000
	go func() {
		for i := range total {
			server.Write(frame.WAL(fmt.Appendf(nil, "%d", i)))
		}
	}()
	watchdog := time.AfterFunc(30*time.Second, func() { s.Interrupt(errors.New("the tail never came")) })
	defer watchdog.Stop()
	for i := 0; i < total; {
		m, err := s.Next()
		if err == nil && m.Kind == Incomplete {
			if surges == 0 { // the next read begins a surge, however slow the machine is
				s.surge.reads, s.surge.since = surgeFirst-1, time.Now()
			}
			err = s.Fill()
		}
		if err != nil {
			t.Fatalf("after %d messages: %v", i, err)
		}
		if m.Kind != XLogData {
			continue
		}
		if want := fmt.Sprint(i); string(m.Data) != want {
			t.Fatalf("message %q, want %q", m.Data, want)
		}
		i++
	}
	t.Logf("%d surges", surges)
	if s.mark != nil && surges == 0 {
		t.Error("no surge began")
	}
}
