package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"walpost/cmd/walpost/internal/config"
)

// TestDurationsInTheLog: durations have a unit in both formats.
func TestDurationsInTheLog(t *testing.T) {
	for format, want := range map[string]string{"json": `"after":"1.5s"`, "text": "after=1.5s"} {
		var out bytes.Buffer
		a := newApp(nil, nil, &out)
		a.flags.logFormat = format
		log, _, err := a.logger(config.Default())
		if err != nil {
			t.Fatal(err)
		}
		log.Info("events flow again", "after", 1500*time.Millisecond)
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: %s", format, out.String())
		}
	}
}
