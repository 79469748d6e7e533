package main

import (
	"fmt"
	"io"
	"strings"

	"walpost/chaos/mutations"
)

// table writes the outcomes as a table that is readable as text and valid Markdown.
func table(w io.Writer, outcomes []mutations.Outcome) {
	rows := [][]string{{"mode", "what walpost does", "guard taken out", "test that fails", "by", "seconds"}}
	for _, o := range outcomes {
		test := o.Test
		if !o.Fell {
			test = "not " + o.Test
		}
		rows = append(rows, []string{o.Mode, o.Prevents, o.Guard, test, o.How, fmt.Sprintf("%.1f", o.Seconds)})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	line := func(row []string) {
		for i, cell := range row {
			fmt.Fprintf(w, "| %-*s ", widths[i], cell)
		}
		fmt.Fprintln(w, "|")
	}
	line(rows[0])
	for _, width := range widths {
		fmt.Fprintf(w, "|%s", strings.Repeat("-", width+2))
	}
	fmt.Fprintln(w, "|")
	for _, row := range rows[1:] {
		line(row)
	}
}
