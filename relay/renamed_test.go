package relay

import (
	"slices"
	"strings"
	"testing"

	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// TestRenamedColumn: rows that were written before a column was renamed are read by the new name. A row that was written after it stops a
// relay that does not know the new name. Everything before it is confirmed, and the cure in the error works.
func TestRenamedColumn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.start().stop()
	f.put("walpost.outbox", "payload", "a")
	f.Exec("alter table walpost.outbox rename payload to body")
	f.put("walpost.outbox", "body", "b")
	err := f.launch().wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), `no column "payload" for outbox.columns.payload`) {
		t.Fatalf("ended with %v", err)
	}
	f.cfg.Mapping.Names[schema.Payload] = "body"
	r := f.start()
	dbtest.Until(t, "2 events", func() bool { return f.sink.count() == 2 })

	f.put("walpost.outbox", "body", "c")
	f.Exec("alter table walpost.outbox rename body to content")
	f.put("walpost.outbox", "content", "d")
	err = r.wait()
	if err == nil || !pgerror.IsPermanent(err) {
		t.Fatalf("ended with %v", err)
	}
	for _, want := range []string{`no column "body" for outbox.columns.payload`, "type, content, headers", "set outbox.columns", "everything before it is confirmed"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if got := f.Confirmed(); got <= f.commitOf(2) {
		t.Errorf("the slot stands at %v, the event before the renaming at %v", got, f.commitOf(2))
	}
	// Instead, somebody renames the column back.
	f.Exec("alter table walpost.outbox rename content to body")
	f.put("walpost.outbox", "body", "e")
	r = f.start()
	dbtest.Until(t, "5 events", func() bool { return f.sink.count() == 5 })
	r.stop()
	if got := f.sink.payloads(); !slices.Equal(got, []string{"a", "b", "c", "d", "e"}) {
		t.Errorf("published %q", got)
	}

	// If a column was dropped, the places of columns prove nothing. The cure in the error works.
	f.Exec("alter table walpost.outbox drop headers")
	f.put("walpost.outbox", "body", "f")
	f.Exec("alter table walpost.outbox rename body to text")
	f.cfg.Mapping.Names[schema.Payload] = "text"
	f.put("walpost.outbox", "text", "g")
	err = f.launch().wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "type, body, created_at") || !strings.Contains(err.Error(), "RENAME COLUMN") {
		t.Fatalf("ended with %v", err)
	}
	f.cfg.Mapping.Names[schema.Payload] = "body"
	if err = f.launch().wait(); err == nil || !strings.Contains(err.Error(), `no column "body"`) {
		t.Fatalf("ended with %v", err)
	}
	f.Exec("alter table walpost.outbox rename text to body")
	err = f.launch().wait()
	if err == nil || !strings.Contains(err.Error(), "type, text, created_at") {
		t.Fatalf("ended with %v", err)
	}
	f.Exec("alter table walpost.outbox rename body to text")
	f.cfg.Mapping.Names[schema.Payload] = "text"
	r = f.start()
	dbtest.Until(t, "7 events", func() bool { return f.sink.count() == 7 })
	r.stop()
	if got := f.sink.payloads()[5:]; !slices.Equal(got, []string{"f", "g"}) {
		t.Errorf("published %q", got)
	}
}

// TestRenamedTable: a renamed outbox loses no row, neither one that is read right after the renaming nor one that is read much later.
func TestRenamedTable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.noChecks = true // a check between the renaming and the row would stop the relay before it has read the row
	r := f.start()
	f.Exec("alter table walpost.outbox rename to events")
	f.put("walpost.events", "payload", "a")
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.look()
	if err := r.wait(); err == nil || !strings.Contains(err.Error(), "set outbox.table: walpost.events") {
		t.Fatalf("ended with %v", err)
	}
	f.put("walpost.events", "payload", "b")
	f.cfg.Table = schema.Table{Schema: "walpost", Name: "events"}
	f.Exec("alter table walpost.events rename to outbox")
	f.put("walpost.outbox", "payload", "c")
	f.Exec("alter table walpost.outbox rename to events")
	f.put("walpost.events", "payload", "d")
	r = f.start()
	dbtest.Until(t, "4 events", func() bool { return f.sink.count() == 4 })
	r.stop()
	if got := f.sink.payloads(); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("published %q", got)
	}
}
