package postgres

import (
	"context"
	"errors"
	"time"

	"walpost/internal/catalog"
)

// Outbox is the outbox table and its place in the publication, as the catalog showed them at one moment. A session depends on them as it
// does on its slot, but the stream does not show when they change.
type Outbox struct {
	Table       uint32            // the oid of the outbox
	Found       catalog.Described // the table that has the outbox's name now; OID 0: there is none, or none whose rows are in the WAL
	Absent      error             // why Found.OID is 0
	Elsewhere   string            // the new name of the table with the oid Table, if it was renamed; "": it does not exist any more
	Publication *Publication      // nil: there is none
	Seen        time.Time         // when all was well, by the server's clock
}

// ReadOutbox reads which table has the outbox's name, which name the table with the oid has now, and the publication.
func (src *Source) ReadOutbox(ctx context.Context, db *DB, table uint32) (*Outbox, error) {
	g := &Outbox{Table: table}
	var err error
	var absent *catalog.TableError
	g.Found, err = catalog.Describe(ctx, db, src.Table)
	if errors.As(err, &absent) {
		g.Absent, err = absent, nil
	}
	if err != nil {
		return nil, err
	}
	if g.Found.OID != table {
		if g.Elsewhere, err = tableName(ctx, db, table); err != nil {
			return nil, err
		}
	}
	g.Publication, err = src.ReadPublication(ctx, db, g.Found.OID)
	return g, err
}

// Compare compares what was found with what is known, and returns why a session may not go on; nil: it may. A session may go on if the
// outbox is another table under the same name.
//
// Rows committed while the table is not published are not in the slot, and no reader can find them there later. So the relay stops: to go
// on would skip them.
func (src *Source) Compare(known, found *Outbox) error {
	if found.Found.OID == 0 {
		return src.absentTable(found.Absent, found.Elsewhere)
	}
	if err := src.checkUnstreamed(&found.Found, known.Seen); err != nil {
		return err
	}
	p := found.Publication
	if p == nil {
		return src.withGap(src.NoPublication(), known.Seen)
	}
	if err := src.checkComplete(p, &found.Found); err != nil {
		return src.withGap(err, known.Seen)
	}
	if found.Found.OID == known.Table && known.Publication != nil && !known.Publication.same(p) {
		return src.alteredPublication(known.Seen)
	}
	return nil
}
