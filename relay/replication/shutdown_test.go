package replication

import (
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
)

// TestShutdownDetector: a server that asks again and again without new WAL is shutting down. A server that is busy, or asks in bursts, is
// not.
func TestShutdownDetector(t *testing.T) {
	for name, c := range map[string]struct {
		pings int
		pause time.Duration
		wal   pglogrepl.LSN // written between two pings
		want  int           // the ping that shows the shutdown; 0: none does
	}{
		"asked ten times a second":   {pings: 100, pause: 100 * time.Millisecond, want: 41}, // for four seconds
		"asked as often as answered": {pings: 10_000, pause: time.Millisecond, want: 4001},
		"asked seldom":               {pings: 20, pause: time.Second, want: 10},
		"asked by a live server":     {pings: 20, pause: time.Second + 1},
		"asked while WAL is written": {pings: 100, pause: 100 * time.Millisecond, wal: 8},
		"asked in a burst":           {pings: 1000, pause: time.Millisecond},
	} {
		var d ShutdownDetector
		now, end, got := time.Unix(1, 0), pglogrepl.LSN(0x10), 0
		for i := range c.pings {
			if d.Ping(now, end) {
				got = i + 1
				break
			}
			now, end = now.Add(c.pause), end+c.wal
		}
		if got != c.want {
			t.Errorf("%s: shutting down at ping %d, want %d", name, got, c.want)
		}
	}
}
