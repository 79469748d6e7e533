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
	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// Publication is what a relay has to know about the publication.
type Publication struct {
	oid      uint32
	version  uint32 // xmin of its row in pg_publication: it changes when the publication is altered
	row      uint32 // oid of the table's row in pg_publication_rel; 0: the table is published in another way, or not at all
	schema   uint32 // oid of the row of the table's schema in pg_publication_namespace; 0: there is none
	inserts  bool
	viaRoot  bool
	member   bool     // the publication has the table
	filtered bool     // the table or one of its partitions has a row filter
	listed   []string // the columns of the column list; nil: there is no list
}

// ReadPublication reads the publication, and how it publishes the table with the oid. It returns nil if the publication does not exist.
func (src *Source) ReadPublication(ctx context.Context, db *DB, table uint32) (*Publication, error) {
	var p Publication
	var schemas bool // publications can have schemas, since 15
	// The columns prqual, prattrs and attnames exist since 15. The query reads them through to_jsonb, which also works without them.
	err := db.QueryRow(ctx, `
		select p.oid, p.xmin::text::bigint, pubinsert, pubviaroot, coalesce((select m.oid from pg_catalog.pg_publication_rel m where m.prpubid = p.oid and m.prrelid = $4), 0), exists (
		         select from pg_catalog.pg_publication_tables t where t.pubname = p.pubname and t.schemaname = $2 and t.tablename = $3), exists (
		         select from pg_catalog.pg_publication_rel m where m.prpubid = p.oid and to_jsonb(m) ->> 'prqual' is not null
		           and (m.prrelid = $4 or m.prrelid in (select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = $4))), (
		         select array(select jsonb_array_elements_text(to_jsonb(t) -> 'attnames')) from pg_catalog.pg_publication_tables t
		         where t.pubname = p.pubname and t.schemaname = $2 and t.tablename = $3 and exists (
		           select from pg_catalog.pg_publication_rel m where m.prpubid = p.oid and m.prrelid = $4 and to_jsonb(m) ->> 'prattrs' is not null)),
		       pg_catalog.to_regclass('pg_catalog.pg_publication_namespace') is not null
		from pg_catalog.pg_publication p where pubname = $1`, src.Publication, src.Table.Schema, src.Table.Name, table).Scan(
		&p.oid, &p.version, &p.inserts, &p.viaRoot, &p.row, &p.member, &p.filtered, &p.listed, &schemas)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up publication %s: %w", schema.QuoteIdent(src.Publication), err)
	case !schemas:
		return &p, nil
	}
	err = db.QueryRow(ctx, `
		select m.oid from pg_catalog.pg_publication_namespace m join pg_catalog.pg_class c on c.relnamespace = m.pnnspid
		where m.pnpubid = $1 and c.oid = $2`, p.oid, table).Scan(&p.schema)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("look up the schemas of publication %s: %w", schema.QuoteIdent(src.Publication), err)
	}
	return &p, nil
}

// checkComplete returns the fault of a publication that keeps rows of the table out of the stream, or columns that outbox.columns maps;
// nil: the publication is complete.
func (src *Source) checkComplete(p *Publication, table *catalog.Described) error {
	if err := p.checkRows(src, table.Partitioned); err != nil {
		return err
	}
	return p.checkColumns(src, table.Columns)
}

// checkRows returns the fault of a publication that keeps rows of the table out of the stream. partitioned says that the table is
// partitioned.
func (p *Publication) checkRows(src *Source, partitioned bool) error {
	name, table := schema.QuoteIdent(src.Publication), src.Table
	switch {
	case partitioned && !p.viaRoot: // then pg_publication_tables lists the partitions and not the partitioned table
		return pgerror.Permanent(reason.PublicationIncomplete, fmt.Errorf("publication %s publishes the partitions of %s under their own names", name, table),
			"run: ALTER PUBLICATION %s SET (publish_via_partition_root = true)", name)
	case !p.member:
		return pgerror.Permanent(reason.PublicationIncomplete, fmt.Errorf("publication %s does not contain table %s", name, table), "run: ALTER PUBLICATION %s ADD TABLE %s", name, table)
	case p.filtered: // it would leave out committed rows silently
		return pgerror.Permanent(reason.PublicationIncomplete, fmt.Errorf("publication %s has a row filter on table %s", name, table), "run: %s", src.publishedWhole())
	case !p.inserts:
		return pgerror.Permanent(reason.PublicationIncomplete, fmt.Errorf("publication %s does not publish inserts", name), "run: ALTER PUBLICATION %s SET (publish = 'insert')", name)
	}
	return nil
}

// checkColumns returns the fault of a column list that lacks mapped columns: the stream would have the rows as if the table did not have
// these columns.
func (p *Publication) checkColumns(src *Source, columns []schema.TableColumn) error {
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
	return pgerror.Permanent(reason.PublicationIncomplete, &columnsError{fmt.Sprintf("publication %s has a column list on table %s without %s, which outbox.columns maps",
		schema.QuoteIdent(src.Publication), src.Table, strings.Join(lacking, ", "))}, "run: %s", src.publishedWhole())
}

// columnsError means that rows reach the slot, but without some of their columns.
type columnsError struct{ text string }

func (e *columnsError) Error() string { return e.text }

// publishedWhole returns SQL that makes the publication publish every row and column of the table. It does not change the publication's
// other tables.
func (src *Source) publishedWhole() string {
	return fmt.Sprintf("BEGIN; ALTER PUBLICATION %s DROP TABLE %s; ALTER PUBLICATION %[1]s ADD TABLE %[2]s; COMMIT", schema.QuoteIdent(src.Publication), src.Table)
}

// NoPublication returns the fault of a slot whose publication does not exist.
func (src *Source) NoPublication() error {
	return pgerror.Permanent(reason.PublicationMissing, fmt.Errorf("publication %s does not exist, but slot %s does", schema.QuoteIdent(src.Publication), src.Slot),
		"run: %s; events committed before that cannot be read from the slot: advance the slot (SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())) and publish them from the table",
		src.PublicationSQL(), schema.QuoteLiteral(src.Slot))
}

// PublicationSQL returns the SQL that creates the publication.
func (src *Source) PublicationSQL() string {
	return schema.PublicationSQL(schema.Options{Table: src.Table, Publication: src.Publication})
}

// same reports whether p and o are the same publication, and nobody has altered it in between or removed the table or its schema from it.
func (p *Publication) same(o *Publication) bool {
	return p.oid == o.oid && p.version == o.version && p.row == o.row && p.schema == o.schema
}

// CheckPublication checks the publication, and creates it for a first start if the role may do that. The publication has to exist before
// the slot does, because Postgres looks it up as it was at each point of the WAL.
func (src *Source) CheckPublication(ctx context.Context, db *DB, p *Found) error {
	pub, err := src.ReadPublication(ctx, db, p.Table.OID)
	switch {
	case err != nil:
		return err
	case pub != nil:
		p.Publication = pub
		return src.CheckPublished(pub, p)
	case p.Slot != nil:
		return src.NoPublication()
	}
	if err := src.CheckCreatable(ctx, db); err != nil {
		return err
	}
	return src.createPublication(ctx, db)
}

// CheckPublished checks that the publication publishes every row of the table, with all mapped columns.
func (src *Source) CheckPublished(pub *Publication, p *Found) error {
	err := src.checkComplete(pub, &p.Table)
	if p.Slot != nil {
		err = src.withGap(err, time.Time{})
	}
	return err
}

// MayNotPublish returns the fault of a publication that a first start has to create but may not.
func (src *Source) MayNotPublish(err error) error {
	return pgerror.Permanent(reason.PublicationMissing, fmt.Errorf("publication %s does not exist, and the role %s may not create it: %w", src.Publication, src.Names.Role, err),
		"run as the owner of %s: %s", src.Table, src.PublicationSQL())
}

func (src *Source) createPublication(ctx context.Context, db *DB) error {
	_, err := db.Exec(ctx, src.PublicationSQL())
	switch {
	case pgerror.IsSQLState(err, "42501"):
		return src.MayNotPublish(err)
	case err != nil && !pgerror.IsSQLState(err, "42710"): // 42710: another relay has created it
		return fmt.Errorf("create publication %s: %w", src.Publication, err)
	}
	src.Logger.Info("created publication", "publication", src.Publication, "table", src.Table.String())
	return nil
}

// CheckVisible checks that the publication exists, and that it publishes every row of the table with all mapped columns.
func (src *Source) CheckVisible(ctx context.Context, db *DB, found *Found) error {
	pub, err := src.ReadPublication(ctx, db, found.Table.OID)
	switch {
	case err != nil:
		return err
	case pub == nil:
		return pgerror.Permanent(reason.PublicationMissing, fmt.Errorf("publication %s does not exist", schema.QuoteIdent(src.Publication)),
			"run as the owner of %s: %s", src.Table, src.PublicationSQL())
	}
	return src.checkComplete(pub, &found.Table)
}
