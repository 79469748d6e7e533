package relay

import (
	"strings"
	"testing"

	"walpost/relay/pgerror"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestNotices(t *testing.T) {
	f := fixture{logs: &logs{t: t}}
	n := notices{log: f.logger(), names: pgerror.Names{Publication: "walpost"}, streaming: true}
	skipped := &pgconn.Notice{Code: "55000", File: "pgoutput.c", Message: "übersprungen"}
	if err := n.take(skipped); err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "publication walpost") {
		t.Errorf("skipped publication: %v", err)
	}
	for _, harmless := range []*pgconn.Notice{{Code: "55000", File: "slot.c", Message: "standby is away"}, {Code: "01000", File: "pgoutput.c"}} {
		if err := n.take(harmless); err != nil {
			t.Errorf("%+v: %v", harmless, err)
		}
	}
	if !f.logs.has("standby is away") {
		t.Error("a notice is not logged")
	}
}
