package postgres

import (
	"errors"
	"fmt"
	"time"

	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// alteredPublication returns the fault of a publication that is complete now, but was altered since the last check. It is no longer known
// what it published in between.
func (src *Source) alteredPublication(since time.Time) error {
	return pgerror.Permanent(reason.PublicationGap, fmt.Errorf("publication %s was altered, or table %s was removed from it and added again: meanwhile it may not have published all inserts",
		schema.QuoteIdent(src.Publication), src.Table),
		"rows committed since %s that were not published are in no slot, only in the table: %s; then start walpost, which goes on from here; if all inserts were published, just start it",
		since.UTC().Format(time.RFC3339), src.again(since))
}

// withGap adds to the cure of a fault which rows are missing from the slot, or lack columns in it. since is when the table was last seen
// published; zero: unknown.
func (src *Source) withGap(err error, since time.Time) error {
	var f *pgerror.Fault
	if !errors.As(err, &f) {
		return err
	}
	where := "in no slot, only in the table"
	if errors.As(err, new(*columnsError)) {
		where = "in the slot without these columns, and complete only in the table"
	}
	if since.IsZero() {
		return &pgerror.Fault{Err: f.Err, Code: f.Code, Cure: fmt.Sprintf("%s; rows committed before that are %s: insert them again", f.Cure, where)}
	}
	at := since.UTC().Format(time.RFC3339)
	return &pgerror.Fault{Err: f.Err, Code: f.Code, Cure: fmt.Sprintf("%s; rows committed from %s until then are %s: %s", f.Cure, at, where, src.again(since))}
}

// again returns the advice how to get rows into the slot that are only in the table.
func (src *Source) again(since time.Time) string {
	created := src.Mapping.Names[schema.CreatedAt]
	if created == "" {
		return "insert them again"
	}
	return fmt.Sprintf("insert them again, for example: WITH gone AS (DELETE FROM %s WHERE %s >= %s RETURNING *) INSERT INTO %[1]s SELECT * FROM gone",
		src.Table, schema.QuoteIdent(created), schema.QuoteLiteral(since.UTC().Format(time.RFC3339)))
}
