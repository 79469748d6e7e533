package main

import (
	"fmt"
	"strings"
	"time"
)

// table returns the ledger in Markdown, one row per fault.
func (l *ledger) table() string {
	var b strings.Builder
	b.WriteString("| fault | times | lasts up to | committed | delivered | lost | uncommitted | altered | out of order | confirmed early | parked | discarded | wrongly parked | discarded, but came | duplicates | broken runs | longest stall | recovery: median, longest | memory beyond the budget |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, one := range append(l.sorted(), &l.sum) {
		b.WriteString(one.row())
	}
	return b.String()
}

func (l *line) row() string {
	median, longest := l.recovery()
	times, recovery := fmt.Sprint(l.Times), seconds(median)+", "+seconds(longest)
	if l.Fault == beforeFaults {
		times, recovery = "–", "–"
	}
	name := l.Fault
	if l.Fault == "all" {
		name = "**all**"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %d | %d | %d | %d | %d | %s | %s | %d | %d | %s | %d | %s | %s | %.0f MiB |\n", name, times, seconds(l.Lasted), grouped(l.Committed), grouped(l.Delivered), l.Lost, l.Uncommitted,
		l.Altered, l.Disordered, l.Ahead, grouped(l.Parked), grouped(l.Discarded), l.Held, l.Revived, grouped(l.Again), l.Broken, seconds(l.Stall), recovery, float64(l.Beyond)/(1<<20))
}

// grouped formats a number with a comma between groups of three digits.
func grouped(n int) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
