package postgres

import (
	"context"
	"errors"
	"time"

	"walpost/internal/catalog"
)

// Outbox is the outbox table and its place in the publication, as the catalog showed them at one moment. A session depends on them besides
// its slot, and the stream does not tell when they change.
type Outbox struct {
	Table       uint32            // the oid of the outbox
	Found       catalog.Described // what is under the outbox's name now; OID 0: nothing that the WAL carries
	Absent      error             // why nothing is
	Elsewhere   string            // the name that the table with the oid has, if not the outbox's; "": there is no such table any more
	Publication *Publication      // nil: there is none
	Seen        time.Time         // when all was well, by the server's clock
}

// ReadOutbox reads the table under the outbox's name, what has become of the table with the oid, and the publication.
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

// Compare compares what was found with what is known, and returns why a session may not go on; nil: it may. That the outbox is another table
// under the same name is no reason.
//
// Rows that are committed while the table is not published are not in the slot. No reader can find them there later, so a relay stops rather
// than go on around the gap.
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
