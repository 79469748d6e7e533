package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/catalog"
	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// bytea is the oid of Postgres's type for bytes.
const bytea = 17

// CheckTable checks that the table exists and that its columns fit the mapping.
func (src *Source) CheckTable(ctx context.Context, db *DB, p *Found, state *RelayState) (err error) {
	p.Table, err = catalog.Describe(ctx, db, src.Table)
	var absent *catalog.TableError
	if errors.As(err, &absent) {
		return src.noTable(ctx, db, absent, state)
	}
	if err != nil {
		return err
	}
	if _, err := src.Mapping.Plan(src.Table, p.Table.Columns); err != nil {
		return pgerror.Permanent(reason.TableUnsuitable, err, "")
	}
	if err := src.checkUnstreamed(&p.Table, time.Time{}); err != nil {
		return err
	}
	if p.Places, err = readPlaces(ctx, db, p.Table); err != nil {
		return err
	}
	for _, c := range p.Table.Columns {
		if c.Name == src.Mapping.Names[schema.Payload] {
			p.Binary = c.OID == bytea
		}
	}
	return nil
}

// noTable returns the fault of an outbox table that does not exist. The table that was streamed before may have been renamed, so it looks
// for that.
func (src *Source) noTable(ctx context.Context, db *DB, absent error, state *RelayState) error {
	var elsewhere string
	if state != nil && state.Table != 0 {
		var err error
		if elsewhere, err = tableName(ctx, db, state.Table); err != nil {
			return err
		}
	}
	return src.absentTable(absent, elsewhere)
}

// CheckReadable checks that the role may read all rows of the table, for a backfill.
func (src *Source) CheckReadable(ctx context.Context, db *DB, p *Found) error {
	var may, hidden bool
	err := db.QueryRow(ctx, "select pg_catalog.has_table_privilege($1::oid, 'SELECT'), pg_catalog.row_security_active($1::oid)", p.Table.OID).Scan(&may, &hidden)
	role := schema.QuoteIdent(src.Names.Role)
	switch {
	case err != nil:
		return fmt.Errorf("look up the rights on %s: %w", src.Table, err)
	case !may:
		return pgerror.Permanent(reason.PrivilegeMissing, fmt.Errorf("the role %s may not read %s, as the first start has to", src.Names.Role, src.Table),
			"run: GRANT SELECT ON %s TO %s; or set outbox.backfill: skip", src.Table, role)
	case hidden: // rows that a policy hides would silently never be published
		return pgerror.Permanent(reason.RowSecurity, fmt.Errorf("row level security of %s applies to the role %s, and the first start has to read every row", src.Table, src.Names.Role),
			"run: ALTER ROLE %s BYPASSRLS; or, as the table's owner: ALTER TABLE %s DISABLE ROW LEVEL SECURITY (no policy is enough); or set outbox.backfill: skip",
			role, src.Table)
	}
	return nil
}

// readPlaces returns the table's columns for the decoder's Follow: nil if any were dropped or are generated.
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

// tableName returns the name of the table with the oid, "" if there is none.
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

// absentTable returns the fault of an outbox table that does not exist. elsewhere is the new name of the table that the relay streamed
// last, "" if that does not exist either.
func (src *Source) absentTable(absent error, elsewhere string) error {
	if elsewhere == "" {
		return pgerror.Permanent(reason.TableMissing, absent, "")
	}
	return pgerror.Permanent(reason.TableMissing, fmt.Errorf("table %s was renamed to %s", src.Table, elsewhere),
		"set outbox.table: %s (walpost then also reads the rows that are still in the slot under the old name), or rename the table back by ALTER TABLE", elsewhere)
}
