package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Colours by meaning, as terminal attributes.
const (
	plain  = ""
	faint  = "2"
	strong = "1"
	good   = "32"
	odd    = "33"
	bad    = "31"
)

// screen writes whole lines, from any goroutine.
type screen struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	acts   int
}

// newScreen returns a screen that uses colours on a terminal that has them,
// unless NO_COLOR is set.
func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &screen{out: out, colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// say prints a remark.
func (s *screen) say(format string, args ...any) {
	s.line(s.paint(faint, fmt.Sprintf(format, args...)))
}

// act prints the title of an act and a line that explains it.
func (s *screen) act(name, line string) {
	s.mu.Lock()
	n := s.acts
	s.acts++
	s.mu.Unlock()
	s.line("\n" + s.paint(strong, fmt.Sprintf("── act %d: %s", n+1, name)) + "\n   " + line)
}

// order shows the outcome of an order in the shop.
func (s *screen) order(o order, outcome string) { s.shop(o, outcome, good) }

// void shows an order that was not committed.
func (s *screen) void(o order, why string) { s.shop(o, why, bad) }

func (s *screen) shop(o order, outcome, colour string) {
	what := fmt.Sprintf("%s for %s", o.Item, o.Customer)
	s.line(fmt.Sprintf("%-7s #%-4d %-34s %s", "order", o.ID, what, s.paint(colour, outcome)))
}

// applied shows an event that was applied.
func (s *screen) applied(service string, o order, record *kgo.Record, effect string) {
	s.event(service, o, record, s.paint(plain, effect))
}

// duplicate shows an event that had been applied before.
func (s *screen) duplicate(service string, o order, record *kgo.Record) {
	s.event(service, o, record, s.paint(odd, "duplicate, ignored"))
}

// event shows where a record is in Kafka, and how long after its transaction's
// commit it arrived. The record's timestamp is the time of the commit.
func (s *screen) event(service string, o order, record *kgo.Record, outcome string) {
	since := max(0, time.Since(record.Timestamp).Milliseconds())
	s.line(fmt.Sprintf("%-7s #%-4d %-24s %6d ms %s", service, o.ID, where(record), since, outcome))
}

// balance shows the balance.
func (s *screen) balance(b balance) {
	s.line("\n" + s.paint(strong, b.String()))
	for _, difference := range b.differences() {
		s.line(s.paint(bad, "  "+difference))
	}
}

// next says what to read and to try after the show.
func (s *screen) next() {
	s.line("\n" + s.paint(strong, "What next") + `
   README.md, "Try it with Docker Compose"   the same with real servers, in containers
   README.md, "Your own database"            connect your database, step by step, and take everything away again
   README.md, "What it guarantees"           and what it does not
   demo/orders.go, demo/consumer.go          the SQL and the Go of the services that you have just seen
   docs/design.md, docs/guarantees.md        why no event gets lost, and what was tested`)
}

func (s *screen) paint(colour, text string) string {
	if !s.colour || colour == plain {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s *screen) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(s.out, strings.TrimRight(text, " \n")+"\n")
}
