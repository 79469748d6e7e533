package postgres

import (
	"errors"
	"strings"
	"testing"
	"time"

	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// TestWithGap: a fault that kept rows out of the slot says which rows, as far as that is known, and how to get them into the slot.
func TestWithGap(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	const again = "insert them again, for example: WITH gone AS (DELETE FROM walpost.outbox WHERE created_at >= '2026-01-02T02:04:05Z' RETURNING *) INSERT INTO walpost.outbox SELECT * FROM gone"
	rows, columns := pgerror.Permanent(reason.PublicationIncomplete, errors.New("no rows"), "cure"), pgerror.Permanent(reason.PublicationIncomplete, &columnsError{"no columns"}, "cure")
	plain := errors.New("no connection")
	for name, c := range map[string]struct {
		err   error
		since time.Time
		want  string
	}{
		"rows":               {rows, since, "no rows; cure; rows committed from 2026-01-02T02:04:05Z until then are in no slot, only in the table: " + again},
		"rows, ever since":   {rows, time.Time{}, "no rows; cure; rows committed before that are in no slot, only in the table: insert them again"},
		"columns":            {columns, since, "no columns; cure; rows committed from 2026-01-02T02:04:05Z until then are in the slot without these columns, and complete only in the table: " + again},
		"what time may cure": {plain, since, "no connection"},
	} {
		src, _ := outbox()
		got := src.withGap(c.err, c.since)
		if got.Error() != c.want || pgerror.IsPermanent(got) != pgerror.IsPermanent(c.err) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	src, _ := outbox()
	if err := src.withGap(nil, since); err != nil {
		t.Errorf("no error became %v", err)
	}
	src.Mapping.Names[schema.CreatedAt] = ""
	if err := src.withGap(rows, since); !strings.HasSuffix(err.Error(), "only in the table: insert them again") {
		t.Errorf("without a created_at column: %q", err)
	}
	if err := src.alteredPublication(since); !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "rows committed since 2026-01-02T02:04:05Z") {
		t.Errorf("altered: %v", err)
	}
}
