package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// show prints everything that the screen can show.
func show(s *screen) {
	o := order{ID: 17, Customer: "ada", Item: "tea"}
	record := &kgo.Record{Topic: topic, Partition: 2, Offset: 40, Timestamp: time.Now().Add(-1500 * time.Millisecond)}
	s.say("walpost run: %s", "streaming")
	s.act("orders flow", "look here")
	s.act("the relay dies", "and here")
	s.order(o, "committed")
	s.void(o, "rolled back")
	s.applied("stock", o, record, "1 deducted")
	s.duplicate("points", o, record)
	s.balance(balance{committed: map[int64]int{17: 1}, deducted: map[int64]int{17: 1}})
}

func TestScreen(t *testing.T) {
	var out strings.Builder
	show(&screen{out: &out})
	got := regexp.MustCompile(`15\d\d ms`).ReplaceAllString(out.String(), "1500 ms")
	want := `walpost run: streaming

── act 1: orders flow
   look here

── act 2: the relay dies
   and here
order   #17   tea for ada                        committed
order   #17   tea for ada                        rolled back
stock   #17   outbox.event.order/2@40    1500 ms 1 deducted
points  #17   outbox.event.order/2@40    1500 ms duplicate, ignored

stock deducted 1 ≠ points granted 0 ≠ orders committed 1, duplicates met and ignored: 0
the balance does not hold:
  order #17: committed 1, deducted 1, granted 0
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestScreenInColour(t *testing.T) {
	var out strings.Builder
	show(&screen{out: &out, colour: true})
	for _, want := range []string{"\x1b[32mcommitted\x1b[0m\n", "\x1b[31mrolled back\x1b[0m\n", "\x1b[33mduplicate, ignored\x1b[0m\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

// If the clock steps back, the time since the commit is 0 and not negative.
func TestScreenNeverNegative(t *testing.T) {
	var out strings.Builder
	(&screen{out: &out}).applied("stock", order{}, &kgo.Record{Timestamp: time.Now().Add(time.Hour)}, "")
	if !strings.Contains(out.String(), " 0 ms") {
		t.Errorf("got %s", out.String())
	}
}

func TestColourOnlyOnATerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if newScreen(file).colour {
		t.Error("colours in a file")
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("open a terminal: %v", err)
	}
	defer terminal.Close()
	if !newScreen(terminal).colour {
		t.Error("no colours on a terminal")
	}
	t.Setenv("NO_COLOR", "1")
	if newScreen(terminal).colour {
		t.Error("colours although NO_COLOR is set")
	}
}
