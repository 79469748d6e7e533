package inflight

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"
)

// TestWindowScripts plays testdata/*.txt. Events are numbered from 1 as they come, transactions from 0:
//
//	tx LSN events=N      a whole transaction         begin, add N, commit LSN   one in pieces
//	many N events=M      N transactions, each ends one byte after the previous one
//	ack N M A-B          acks of single events       keepalive LSN              an idle position
//	confirm → LSN        what may be confirmed       before TX → BOOL           all before TX done
//	entries ≤ N          number of entries
func TestWindowScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) { playScript(t, name) })
	}
}

func playScript(t *testing.T, name string) {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := player{tickets: []uint64{0}}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		step, want, _ := strings.Cut(strings.TrimSpace(line), "→")
		if step = strings.TrimSpace(step); step == "" {
			continue
		}
		got, err := p.play(strings.Fields(step))
		if err != nil || got != strings.TrimSpace(want) {
			t.Fatalf("%s:%d: %s: got %q, want %q, error %v", name, n, step, got, strings.TrimSpace(want), err)
		}
	}
}

// player plays the steps of a script to a window.
type player struct {
	w       window
	tickets []uint64 // transaction of each event
	last    pglogrepl.LSN
}

func (p *player) add(n int) {
	for range n {
		p.tickets = append(p.tickets, p.w.next-1)
	}
	p.w.add(n)
}

func (p *player) play(words []string) (string, error) {
	arg := func(i int) string { return words[min(i, len(words)-1)] }
	lsn, _ := pglogrepl.ParseLSN(arg(1))
	count, _ := strconv.Atoi(arg(1))
	events, _ := strconv.Atoi(strings.TrimPrefix(arg(2), "events="))
	switch words[0] {
	case "tx":
		p.w.begin(int64(p.w.next) + 1)
		p.add(events)
		p.w.seal(lsn)
		p.last = lsn
	case "many":
		for range count {
			p.w.begin(int64(p.w.next) + 1)
			p.add(events)
			p.last++
			p.w.seal(p.last)
		}
	case "begin":
		p.w.begin(int64(p.w.next) + 1)
	case "add":
		p.add(count)
	case "commit":
		p.w.seal(lsn)
	case "ack":
		for _, w := range words[1:] {
			from, to, ranged := strings.Cut(w, "-")
			a, _ := strconv.Atoi(from)
			b, _ := strconv.Atoi(to)
			if !ranged {
				b = a
			}
			for ; a <= b; a++ {
				p.w.ack(p.tickets[a], 1)
			}
		}
	case "keepalive":
		p.w.idle(lsn)
	case "confirm":
		return p.w.confirmed.String(), nil
	case "before":
		return strconv.FormatBool(p.w.before(uint64(count))), nil
	case "entries":
		if limit, _ := strconv.Atoi(words[2]); len(p.w.entries) > limit || cap(p.w.entries) > 1<<20 {
			return "", fmt.Errorf("%d entries", len(p.w.entries))
		}
	default:
		return "", fmt.Errorf("unknown step %q", words[0])
	}
	return "", nil
}

// TestNoAckConfirmsPastAnUnackedEvent acks the events of small windows in every order, after all events were added.
func TestNoAckConfirmsPastAnUnackedEvent(t *testing.T) {
	for _, shape := range [][]int{{1}, {2}, {1, 1}, {0, 1}, {1, 0}, {2, 1}, {1, 0, 2}, {1, 1, 1, 1}, {3, 0, 0, 2, 1}, {2, 2, 2}, {1, 1, 1, 1, 1, 1, 1}} {
		var events []uint64
		for tx, n := range shape {
			for range n {
				events = append(events, uint64(tx))
			}
		}
		permute(events, func(order []uint64) {
			w, m := window{}, model{}
			for i, n := range shape {
				end := pglogrepl.LSN(0x10 * (i + 1))
				w.begin(0)
				w.add(n)
				w.seal(end)
				m.begin(0)
				m.add(n)
				m.seal(end)
			}
			for _, tx := range order {
				w.ack(tx, 1)
				m.txs[tx].unacked--
				if w.confirmed != m.confirmed() {
					t.Fatalf("shape %v, order %v: confirmed %v, want %v", shape, order, w.confirmed, m.confirmed())
				}
			}
			if !w.empty() || w.unacked != 0 {
				t.Fatalf("shape %v, order %v: not empty at the end", shape, order)
			}
		})
	}
}

// permute calls f with every order of s.
func permute(s []uint64, f func([]uint64)) {
	var swap func(int)
	swap = func(n int) {
		if n <= 1 {
			f(s)
			return
		}
		for i := range n {
			swap(n - 1)
			s[i*(1-n%2)], s[n-1] = s[n-1], s[i*(1-n%2)]
		}
	}
	swap(len(s))
}

// TestWindowPanics: a caller that breaks the window's preconditions has a bug. The window panics, because to go on could confirm events
// that were not published.
func TestWindowPanics(t *testing.T) {
	one := func() *window {
		w := &window{}
		w.begin(0)
		w.add(2)
		w.seal(0x10)
		return w
	}
	for name, f := range map[string]func(){
		"ack of an unknown transaction":  func() { one().ack(1, 1) },
		"ack in an empty window":         func() { (&window{}).ack(0, 1) },
		"more acks than events":          func() { one().ack(0, 3) },
		"ack of nothing":                 func() { one().ack(0, 0) },
		"ack after the last":             func() { w := one(); w.ack(0, 2); w.ack(0, 1) },
		"begin inside a transaction":     func() { w := one(); w.begin(0); w.begin(0) },
		"events outside a transaction":   func() { one().add(1) },
		"commit outside a transaction":   func() { one().seal(0x20) },
		"commit without an end position": func() { w := one(); w.begin(0); w.seal(0) },
		"ack of a transaction that was merged away": func() {
			w := one()
			for range 1000 {
				tx := w.begin(0)
				w.add(1)
				w.seal(pglogrepl.LSN(0x100 + tx))
				w.ack(tx, 1)
			}
			w.ack(500, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// Transactions without events are at the end of a merged run: the commit times of those with events must stay known.
func TestMergeKeepsTheCommitTime(t *testing.T) {
	var w window
	one := func(rows int) uint64 {
		tx := w.begin(int64(w.next) + 1)
		w.add(rows)
		w.seal(pglogrepl.LSN(tx + 1))
		return tx
	}
	stuck := one(1)
	last := one(1)
	w.ack(last, 1)
	for range 3 * mergeSlack {
		one(0)
	}
	if w.ack(stuck, 1); w.committed != int64(last)+1 {
		t.Errorf("the last confirmed transaction with events is said to be of %d, it is of %d", w.committed, last+1)
	}
}

// BenchmarkWindow measures a transaction with one event, acked in order. Compare with benchstat:
//
//	go test ./relay/inflight -run '^$' -bench Window -count 10
func BenchmarkWindow(b *testing.B) {
	b.ReportAllocs()
	var w window
	for i := range b.N {
		tx := w.begin(0)
		w.add(1)
		w.seal(pglogrepl.LSN(i + 1))
		if tx >= 1000 {
			w.ack(tx-1000, 1)
		}
	}
}
