package schema

import (
	"math/rand/v2"
	"testing"
	"time"
)

// usualTimestamp gives the same result as parseTimestamp, or refuses a text in another form.
func TestUsualTimestamp(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		at := firstTime + random.Int64N(endOfTimes-firstTime)
		text := time.UnixMicro(at).UTC().Format("2006-01-02 15:04:05.000000+00")
		if got, ok := usualTimestamp([]byte(text)); got != at || !ok {
			t.Fatalf("%s: %d, %t, want %d", text, got, ok, at)
		}
	}
	const usual = "2026-11-20 12:34:56.789012+00"
	for i := range usual {
		for b := range 256 {
			text := []byte(usual)
			text[i] = byte(b)
			got, ok := usualTimestamp(text)
			want, err := parseTimestamp(text)
			if ok && (err != nil || got != want) {
				t.Errorf("%q: %d, want %d, %v", text, got, want, err)
			}
			if !ok && err == nil && text[26] == '+' && text[27] == '0' && text[28] == '0' {
				t.Errorf("%q: left to the long way", text)
			}
		}
	}
	for _, text := range []string{"", usual[:28], usual + ":", "2026-02-29 12:34:56.789012+00", "0000-01-01 00:00:00.000000+00", "2026-11-20 24:34:56.789012+00"} {
		if got, ok := usualTimestamp([]byte(text)); ok {
			t.Errorf("%q: %d", text, got)
		}
	}
}
