package replication

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
)

// History says which timeline owns which part of the WAL, as far as the connected server knows.
//
// A promotion ends a timeline at a switch point and begins the next one there. The slot may stand before that point. So a commit need not
// belong to the server's current timeline.
type History struct {
	Current uint32
	past    []pastTimeline // oldest first
}

// pastTimeline is a timeline that has ended.
type pastTimeline struct {
	timeline uint32
	end      pglogrepl.LSN // where the next one began
}

// Owner returns the timeline that a record starting at lsn belongs to.
func (h *History) Owner(lsn pglogrepl.LSN) uint32 {
	for _, t := range h.past {
		if lsn < t.end {
			return t.timeline
		}
	}
	return h.Current
}

// parseHistory parses a timeline history file. It has a line for each past timeline, with its number, its switch point and the reason;
// comments begin with #.
func parseHistory(content []byte) ([]pastTimeline, error) {
	var past []pastTimeline
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("timeline history: line %q has no switch point", lines.Text())
		}
		timeline, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("timeline history: line %q: %w", lines.Text(), err)
		}
		end, err := pglogrepl.ParseLSN(fields[1])
		if err != nil {
			return nil, fmt.Errorf("timeline history: line %q: %w", lines.Text(), err)
		}
		past = append(past, pastTimeline{timeline: uint32(timeline), end: end})
	}
	return past, lines.Err()
}
