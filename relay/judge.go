package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walpost/relay/pgerror"
	"walpost/schema"
)

// judge says whether the session may go on, which it does if nil is returned. What is worth a word is logged once: the session stands on
// what was found from then on.
//
// Rows that are committed while the table is not published are not in the slot. No reader can find them there later, so the relay stops
// rather than go on around the gap.
func (w *watcher) judge(ctx context.Context, db *database, s *session, found *ground) error {
	r, known := w.relay, &s.ground
	if found.found.OID == 0 {
		return r.absentTable(found.absent, found.elsewhere)
	}
	if found.publication == nil {
		return r.withGap(r.noPublication(), known.seen)
	}
	if err := found.publication.check(r, &found.found); err != nil {
		return r.withGap(err, known.seen)
	}
	p := found.publication
	switch {
	case found.found.OID != known.table:
		if err := writeTable(ctx, db, r.cfg.Slot, found.found.OID); err != nil {
			r.log.Debug("the outbox is another table, which the next look records", "reason", err)
			return nil
		}
		r.log.Warn("the outbox is another table under the same name; rows that were committed before it was in the publication are in no slot",
			"table", r.cfg.Table.String(), "oid", found.found.OID, "before", known.table, "old_table_is_now", found.elsewhere, "last_seen", known.seen)
		known.table = found.found.OID
		if _, err := r.cfg.Mapping.Plan(r.cfg.Table, found.found.Columns); err != nil {
			r.log.Warn("the outbox's columns no longer fit", "reason", err)
		}
	case known.publication != nil && !known.publication.same(p):
		return r.alteredPublication(known.seen)
	}
	known.publication, known.seen = p, found.seen
	w.remember(known)
	return nil
}

// same tells whether nobody has altered the publication, or taken the table out of it, between two looks.
func (p *publication) same(o *publication) bool {
	return p.oid == o.oid && p.version == o.version && p.row == o.row
}

// alteredPublication is the fault of a publication that is well now, and was altered since it was last seen. What it published in between
// nobody can tell any more.
func (r *Relay) alteredPublication(since time.Time) error {
	return pgerror.Permanent(fmt.Errorf("publication %s was altered, or table %s was taken out and put back: for a while it may not have published what was inserted",
		schema.QuoteIdent(r.cfg.Publication), r.cfg.Table),
		"rows committed since %s that were not published are in no slot, only in the table: %s; then, or if inserts were published all the time, start walpost: it goes on from here",
		since.UTC().Format(time.RFC3339), r.again(since))
}

// withGap adds to a fault which rows are in no slot, or not whole; since: when the table was last seen published, zero if nobody knows.
func (r *Relay) withGap(err error, since time.Time) error {
	var f *pgerror.Fault
	if !errors.As(err, &f) {
		return err
	}
	where := "in no slot, only in the table"
	if errors.As(err, new(*columnsError)) {
		where = "in the slot without these columns, and whole only in the table"
	}
	if since.IsZero() {
		return &pgerror.Fault{Err: f.Err, Cure: fmt.Sprintf("%s; rows committed before that are %s: insert them again", f.Cure, where)}
	}
	at := since.UTC().Format(time.RFC3339)
	return &pgerror.Fault{Err: f.Err, Cure: fmt.Sprintf("%s; rows committed from %s until then are %s: %s", f.Cure, at, where, r.again(since))}
}

// again says how rows that are in the table only come into the slot.
func (r *Relay) again(since time.Time) string {
	created := r.cfg.Mapping.Names[schema.CreatedAt]
	if created == "" {
		return "insert them again"
	}
	return fmt.Sprintf("insert them again, such as by WITH gone AS (DELETE FROM %s WHERE %s >= %s RETURNING *) INSERT INTO %[1]s SELECT * FROM gone",
		r.cfg.Table, schema.QuoteIdent(created), schema.QuoteLiteral(since.UTC().Format(time.RFC3339)))
}

// writeTable records which table the slot streams.
func writeTable(ctx context.Context, db *database, slot string, table uint32) error {
	_, err := db.Exec(ctx, `update walpost.relay_state set table_oid = $2, updated_at = clock_timestamp() where slot = $1`, slot, table)
	if err != nil {
		return fmt.Errorf("record the table of slot %s: %w", slot, err)
	}
	return nil
}
