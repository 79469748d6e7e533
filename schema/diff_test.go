package schema

import (
	"strings"
	"testing"
)

// internal/catalog tests differences on live databases. This test has those that are difficult to create there.

func TestDiffOfVersions(t *testing.T) {
	for _, c := range []struct {
		live int
		cure string
	}{
		{0, "walpost schema apply"},
		{Version + 1, "run a walpost that knows version 3"},
	} {
		list := Diff(Options{}, Live{Version: c.live})
		if len(list) != 1 || list[0].Object != "schema walpost" || list[0].Wanted != "version 2" || list[0].Cure != c.cure {
			t.Errorf("version %d: %v, want one difference, cured by %s", c.live, list, c.cure)
		}
	}
}

func TestDiffOfNothingInASchemaThatClaimsItsVersion(t *testing.T) {
	list := Diff(everyOption, Live{Version: Version})
	var all strings.Builder
	for _, d := range list {
		if d.Object == "" || d.Found == "" || d.Wanted == "" || d.Cure == "" {
			t.Errorf("a difference without all its parts: %+v", d)
		}
		all.WriteString(d.String() + "\n")
	}
	for _, object := range []string{"table walpost.outbox", "table walpost.inbox", "table walpost.dead_letters", "table walpost.relay_state",
		"walpost.publish(text, text, text, jsonb, jsonb)", "walpost.claim(text, text)", "walpost.claim(text, text, text)", "walpost.purge_inbox(interval)", "walpost.schema_version()", "publication walpost",
		"role app", "role relay"} {
		if !strings.Contains(all.String(), object+": found nothing, wanted") {
			t.Errorf("%s is not missed in\n%s", object, &all)
		}
	}
}
