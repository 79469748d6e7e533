package relay

import (
	"context"
)

// judge says whether the session may go on, which it does if nil is returned. What is worth a word is logged once: the session stands on
// what was found from then on.
//
// Rows that are committed while the table is not published are not in the slot. No reader can find them there later, so the relay stops
// rather than go on around the gap.
func (w *watcher) judge(ctx context.Context, db *database, s *session, found *ground) error {
	r, known := w.relay, &s.ground
	if found.found.OID == 0 {
		return r.source.absentTable(found.absent, found.elsewhere)
	}
	if found.publication == nil {
		return r.source.withGap(r.source.noPublication(), known.seen)
	}
	if err := found.publication.check(r.source, &found.found); err != nil {
		return r.source.withGap(err, known.seen)
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
		return r.source.alteredPublication(known.seen)
	}
	known.publication, known.seen = p, found.seen
	w.remember(known)
	return nil
}
