package postgres

import (
	"errors"
	"fmt"
	"time"

	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// alteredPublication returns the fault of a publication that is well now, and was altered since it was last seen. What it published in between
// nobody can tell any more.
func (src *Source) alteredPublication(since time.Time) error {
	return pgerror.Permanent(reason.PublicationGap, fmt.Errorf("publication %s was altered, or table %s was taken out and put back: for a while it may not have published what was inserted",
		schema.QuoteIdent(src.Publication), src.Table),
		"rows committed since %s that were not published are in no slot, only in the table: %s; then, or if inserts were published all the time, start walpost: it goes on from here",
		since.UTC().Format(time.RFC3339), src.again(since))
}

// withGap adds to a fault which rows are in no slot, or not whole; since: when the table was last seen published, zero if nobody knows.
func (src *Source) withGap(err error, since time.Time) error {
	var f *pgerror.Fault
	if !errors.As(err, &f) {
		return err
	}
	where := "in no slot, only in the table"
	if errors.As(err, new(*columnsError)) {
		where = "in the slot without these columns, and whole only in the table"
	}
	if since.IsZero() {
		return &pgerror.Fault{Err: f.Err, Code: f.Code, Cure: fmt.Sprintf("%s; rows committed before that are %s: insert them again", f.Cure, where)}
	}
	at := since.UTC().Format(time.RFC3339)
	return &pgerror.Fault{Err: f.Err, Code: f.Code, Cure: fmt.Sprintf("%s; rows committed from %s until then are %s: %s", f.Cure, at, where, src.again(since))}
}

// again says how rows that are in the table only come into the slot.
func (src *Source) again(since time.Time) string {
	created := src.Mapping.Names[schema.CreatedAt]
	if created == "" {
		return "insert them again"
	}
	return fmt.Sprintf("insert them again, such as by WITH gone AS (DELETE FROM %s WHERE %s >= %s RETURNING *) INSERT INTO %[1]s SELECT * FROM gone",
		src.Table, schema.QuoteIdent(created), schema.QuoteLiteral(since.UTC().Format(time.RFC3339)))
}
