package main

import (
	"fmt"
	"time"
)

// recorded returns the relay's last record of a slot as text.
func recorded(phase, confirmed string, at, now time.Time) string {
	if confirmed == "" {
		return phase + ", nothing confirmed yet"
	}
	s := phase + ", confirmed up to " + confirmed
	if !at.IsZero() {
		s += ", which was committed " + ago(&at, now)
	}
	return s
}

// ago returns how long before now t was, as text.
func ago(t *time.Time, now time.Time) string {
	if t == nil {
		return "none yet"
	}
	return age(now.Sub(*t)) + " ago"
}

// age rounds a duration to its two largest units.
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return seconds(d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d days %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// seconds rounds to a tenth of a second, and from 100 s on as age does.
func seconds(s float64) string {
	if s >= 100 {
		return age(time.Duration(s) * time.Second)
	}
	return fmt.Sprintf("%.1f s", s)
}
