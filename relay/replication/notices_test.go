package replication

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/relay/pgerror"
)

func TestNotices(t *testing.T) {
	var logged bytes.Buffer
	n := notices{log: slog.New(slog.NewTextHandler(&logged, nil)), names: pgerror.Names{Publication: "walpost"}, streaming: true}
	skipped := &pgconn.Notice{Code: "55000", File: "pgoutput.c", Message: "übersprungen"}
	if err := n.take(skipped); err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "publication walpost") {
		t.Errorf("skipped publication: %v", err)
	}
	for _, harmless := range []*pgconn.Notice{{Code: "55000", File: "slot.c", Message: "standby is away"}, {Code: "01000", File: "pgoutput.c"}} {
		if err := n.take(harmless); err != nil {
			t.Errorf("%+v: %v", harmless, err)
		}
	}
	if !strings.Contains(logged.String(), "standby is away") {
		t.Error("a notice is not logged")
	}
}
