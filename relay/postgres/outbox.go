package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/catalog"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// Outbox is what a session stands on besides its slot: the table under the outbox's name and its place in the publication.
type Outbox struct {
	Table       uint32            // the oid of the outbox
	Found       catalog.Described // what is under the outbox's name now; OID 0: nothing that the WAL carries
	Absent      error             // why nothing is
	Elsewhere   string            // the name that the table with the oid has, if not the outbox's; "": there is no such table any more
	Publication *publication      // nil: there is none
	Seen        time.Time         // when all was well, by the server's clock
}

// publication is what the relay needs of one.
type publication struct {
	oid      uint32
	version  uint32 // the transaction that wrote its row of pg_publication: another one has altered it
	row      uint32 // of pg_publication_rel for the table; 0: it is in it otherwise, or not at all
	inserts  bool
	viaRoot  bool
	member   bool     // the table is in it
	filtered bool     // of the table or its partitions not all rows are
	listed   []string // the columns of the table that are; nil: there is no list, all are
}

// ReadPublication returns nil if there is no publication.
func (src *Source) ReadPublication(ctx context.Context, db *DB, table uint32) (*publication, error) {
	var p publication
	// prqual, prattrs and attnames are there since 15, so they are asked for in a way that needs no column.
	err := db.QueryRow(ctx, `
		select p.oid, p.xmin::text::bigint, pubinsert, pubviaroot, coalesce((select m.oid from pg_catalog.pg_publication_rel m where m.prpubid = p.oid and m.prrelid = $4), 0), exists (
		         select from pg_catalog.pg_publication_tables t where t.pubname = p.pubname and t.schemaname = $2 and t.tablename = $3), exists (
		         select from pg_catalog.pg_publication_rel m where m.prpubid = p.oid and to_jsonb(m) ->> 'prqual' is not null
		           and (m.prrelid = $4 or m.prrelid in (select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = $4))), (
		         select array(select jsonb_array_elements_text(to_jsonb(t) -> 'attnames')) from pg_catalog.pg_publication_tables t
		         where t.pubname = p.pubname and t.schemaname = $2 and t.tablename = $3 and exists (
		           select from pg_catalog.pg_publication_rel m where m.prpubid = p.oid and m.prrelid = $4 and to_jsonb(m) ->> 'prattrs' is not null))
		from pg_catalog.pg_publication p where pubname = $1`, src.Publication, src.Table.Schema, src.Table.Name, table).Scan(
		&p.oid, &p.version, &p.inserts, &p.viaRoot, &p.row, &p.member, &p.filtered, &p.listed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up publication %s: %w", schema.QuoteIdent(src.Publication), err)
	}
	return &p, nil
}

// CheckComplete returns what keeps rows of the table out of the stream, or columns of them that outbox.columns maps; nil: nothing does.
func (src *Source) CheckComplete(p *publication, table *catalog.Described) error {
	if err := p.checkRows(src, table.Partitioned); err != nil {
		return err
	}
	return p.checkColumns(src, table.Columns)
}

// checkRows says what keeps rows of the table out of the stream. partitioned: the table is the root of partitions.
func (p *publication) checkRows(src *Source, partitioned bool) error {
	name, table := schema.QuoteIdent(src.Publication), src.Table
	switch {
	case partitioned && !p.viaRoot: // then pg_publication_tables lists the partitions and not the root
		return pgerror.Permanent(fmt.Errorf("publication %s shows partitions of %s and not the table", name, table),
			"run: ALTER PUBLICATION %s SET (publish_via_partition_root = true)", name)
	case !p.member:
		return pgerror.Permanent(fmt.Errorf("publication %s does not have table %s", name, table), "run: ALTER PUBLICATION %s ADD TABLE %s", name, table)
	case p.filtered: // committed rows would be left out, and nobody told
		return pgerror.Permanent(fmt.Errorf("publication %s has a row filter on table %s", name, table), "run: %s", src.publishedWhole())
	case !p.inserts:
		return pgerror.Permanent(fmt.Errorf("publication %s does not publish inserts", name), "run: ALTER PUBLICATION %s SET (publish = 'insert')", name)
	}
	return nil
}

// checkColumns says which columns a list leaves out: the stream would have the rows as if the table had no such columns.
func (p *publication) checkColumns(src *Source, columns []schema.TableColumn) error {
	if p.listed == nil {
		return nil
	}
	var lacking []string
	for _, c := range src.Mapping.Mapped(columns) {
		if !slices.Contains(p.listed, c.Name) {
			lacking = append(lacking, schema.QuoteIdent(c.Name))
		}
	}
	if lacking == nil {
		return nil
	}
	return pgerror.Permanent(&columnsError{fmt.Sprintf("publication %s has a column list on table %s without %s, which outbox.columns maps",
		schema.QuoteIdent(src.Publication), src.Table, strings.Join(lacking, ", "))}, "run: %s", src.publishedWhole())
}

// columnsError says that rows come without some of their columns. They do come.
type columnsError struct{ text string }

func (e *columnsError) Error() string { return e.text }

// publishedWhole is SQL that makes the publication have every row and column of the table, and leaves its other tables alone.
func (src *Source) publishedWhole() string {
	return fmt.Sprintf("BEGIN; ALTER PUBLICATION %s DROP TABLE %s; ALTER PUBLICATION %[1]s ADD TABLE %[2]s; COMMIT", schema.QuoteIdent(src.Publication), src.Table)
}

// NoPublication is the fault of a slot that is there without its publication.
func (src *Source) NoPublication() error {
	return pgerror.Permanent(fmt.Errorf("publication %s does not exist, but slot %s does", schema.QuoteIdent(src.Publication), src.Slot),
		"run: %s; events committed before that cannot be read from the slot: advance it (SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())) and publish them from the table",
		src.PublicationSQL(), schema.QuoteLiteral(src.Slot))
}

// PublicationSQL makes the publication.
func (src *Source) PublicationSQL() string {
	return schema.PublicationSQL(schema.Options{Table: src.Table, Publication: src.Publication})
}

// ReadOutbox looks at the table under the outbox's name, at what has become of the one with the oid, and at the publication.
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

// readPlaces returns the table's columns as [decoder.Decoder.Follow] takes them: nil if some were dropped or are generated.
func readPlaces(ctx context.Context, db *DB, table catalog.Described) ([]schema.TableColumn, error) {
	var moved bool
	err := db.QueryRow(ctx, `select exists (select from pg_catalog.pg_attribute where attrelid = $1 and attnum > 0 and (attisdropped or attgenerated <> ''))`,
		table.OID).Scan(&moved)
	if err != nil {
		return nil, fmt.Errorf("look up the columns of the table with oid %d: %w", table.OID, err)
	}
	if moved {
		return nil, nil
	}
	return table.Columns, nil
}

// tableName returns the name of the table with an oid, "" if there is none.
func tableName(ctx context.Context, db *DB, oid uint32) (string, error) {
	var t schema.Table
	err := db.QueryRow(ctx, `select n.nspname, c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = $1`, oid).
		Scan(&t.Schema, &t.Name)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look up the table with oid %d: %w", oid, err)
	}
	return t.String(), nil
}

// AbsentTable is the fault of an outbox whose name leads nowhere, with what is known of the table that the relay streamed last.
func (src *Source) AbsentTable(absent error, elsewhere string) error {
	if elsewhere == "" {
		return pgerror.Permanent(absent, "")
	}
	return pgerror.Permanent(fmt.Errorf("table %s was renamed to %s", src.Table, elsewhere),
		"set outbox.table: %s (rows that are still in the slot are read as the table's, whatever its name was), or give the table its old name back by ALTER TABLE", elsewhere)
}

// Same tells whether nobody has altered the publication, or taken the table out of it, between two looks.
func (p *publication) Same(o *publication) bool {
	return p.oid == o.oid && p.version == o.version && p.row == o.row
}
