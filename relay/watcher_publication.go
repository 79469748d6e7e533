package relay

import (
	"context"

	"walpost/relay/postgres"
)

// compare compares what a check found with what is known, and returns why the session may not go on; nil: it may. It logs a new table under
// the outbox's name once. Then it takes what was found as known.
func (w *watcher) compare(ctx context.Context, db *postgres.DB, s *session, found *postgres.Outbox) error {
	r, known := w.relay, &s.outbox
	if err := r.source.Compare(known, found); err != nil {
		return err
	}
	if found.Found.OID != known.Table {
		if err := postgres.WriteTable(ctx, db, r.cfg.Slot, found.Found.OID); err != nil {
			r.log.Debug("the outbox is another table; the next check records that", "err", err)
			return nil
		}
		r.log.Warn("the outbox is another table under the same name; rows committed before the new one was in the publication are in no slot",
			"table", r.cfg.Table.String(), "oid", found.Found.OID, "before", known.Table, "old_table_is_now", found.Elsewhere, "last_seen", known.Seen)
		known.Table = found.Found.OID
		if _, err := r.cfg.Mapping.Plan(r.cfg.Table, found.Found.Columns); err != nil {
			r.log.Warn("the outbox's columns no longer fit", "err", err)
		}
	}
	known.Publication, known.Seen = found.Publication, found.Seen
	w.remember(known)
	return nil
}
