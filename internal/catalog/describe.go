// Package catalog works on a live database for package schema, which has no connection of its own. It describes the outbox, applies the
// DDL, and compares the database with the objects that walpost needs.
package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"walpost/schema"
)

// Querier reads the catalog: a connection or a transaction. A replication connection cannot be one, because its queries take no parameters.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Described is the catalog's description of a table.
type Described struct {
	OID         uint32
	Partitioned bool                 // the root of a partitioned table
	Columns     []schema.TableColumn // in the table's order, as [schema.Mapping.Plan] takes them
	Unstreamed  []schema.UnstreamedTable
}

// TableError reports that a table does not exist or cannot be used as the outbox. Only a person can cure it.
type TableError struct {
	Table  schema.Table
	Reason string
}

// doesNotExist is the reason of a table that walpost schema apply would create.
const doesNotExist = "does not exist"

const (
	notATable = "is a view or the like, and not a table"
	notInWAL  = "is unlogged or temporary, so its rows are not in the WAL"
)

// Error returns a text with the table, what is wrong with it and the cure.
func (e *TableError) Error() string {
	return fmt.Sprintf("table %s %s: %s", e.Table, e.Reason, e.Cure())
}

// Cure returns a command that helps, if there is one, or the choice of another table.
func (e *TableError) Cure() string {
	const other = "name another by outbox.table"
	switch e.Reason {
	case doesNotExist:
		return fmt.Sprintf("create it with `%s`, or %s", schema.Command("apply", e.Table), other)
	case notInWAL:
		return fmt.Sprintf("run: ALTER TABLE %s SET LOGGED; or %s", e.Table, other)
	}
	return other
}

// Describe returns the table's description. The type of a column with a domain is the domain's base type. Describe returns a TableError if
// the table does not exist, is a view or the like, or has rows that are not in the WAL. Any other error is one of the connection.
func Describe(ctx context.Context, db Querier, t schema.Table) (Described, error) {
	live, err := describe(ctx, db, t)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Described{}, &TableError{t, doesNotExist}
	case err != nil:
		return Described{}, err
	case live.Kind != "r" && live.Kind != "p":
		return Described{}, &TableError{t, notATable}
	case live.Unlogged:
		return Described{}, &TableError{t, notInWAL}
	}
	return Described{OID: live.OID, Partitioned: live.Kind == "p", Columns: live.TableColumns(), Unstreamed: live.Unstreamed}, nil
}

// describe returns an error that wraps pgx.ErrNoRows if the table does not exist.
func describe(ctx context.Context, db Querier, t schema.Table) (schema.LiveTable, error) {
	var live schema.LiveTable
	err := db.QueryRow(ctx, schema.QueryTable, t.String()).Scan(&live.OID, &live.Kind, &live.Unlogged)
	if err != nil {
		return live, fmt.Errorf("describe table %s: %w", t, err)
	}
	rows, err := db.Query(ctx, schema.QueryColumns, live.OID)
	if err == nil {
		live.Columns, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c schema.LiveColumn, err error) {
			err = row.Scan(&c.Name, &c.OID, &c.Type, &c.NotNull, &c.Default, &c.Collation)
			return c, err
		})
	}
	if err != nil {
		return live, fmt.Errorf("describe the columns of table %s: %w", t, err)
	}
	live.Unstreamed, err = unstreamed(ctx, db, live.OID)
	if err != nil {
		return live, fmt.Errorf("look up children and partitions of table %s: %w", t, err)
	}
	return live, nil
}

// unstreamed returns the children and partitions of the table whose rows are not in a stream of that table.
func unstreamed(ctx context.Context, db Querier, oid uint32) ([]schema.UnstreamedTable, error) {
	rows, err := db.Query(ctx, schema.QueryUnstreamed, oid)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (o schema.UnstreamedTable, err error) {
		var kind string
		var partition bool
		err = row.Scan(&o.Table.Schema, &o.Table.Name, &kind, &partition)
		switch {
		case !partition:
			o.Reason = schema.Inherits
		case kind == "f":
			o.Reason = schema.Foreign
		default:
			o.Reason = schema.Unlogged
		}
		return o, err
	})
}
