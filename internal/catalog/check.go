package catalog

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"walpost/schema"
)

// Check compares the database with o. It changes nothing, and needs no right except that to connect. nil: there is no difference.
func Check(ctx context.Context, conn *pgx.Conn, o schema.Options) ([]schema.Difference, error) {
	var list []schema.Difference
	err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local search_path = ''`); err != nil {
			return err
		}
		var err error
		list, err = check(ctx, tx, o)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("check schema walpost: %w", err)
	}
	return list, nil
}

func check(ctx context.Context, db Querier, o schema.Options) ([]schema.Difference, error) {
	o = o.WithDefaults()
	live, err := readLive(ctx, db, o)
	if err != nil {
		return nil, err
	}
	o.Database = live.Database
	if t, ok := live.Tables[o.Table]; ok {
		o.Columns = t.TableColumns()
	}
	return schema.Diff(o, live), nil
}

// Version returns the version of the database's schema walpost, or 0 if it does not exist. If the role has no USAGE on the schema, it
// returns the server's error.
func Version(ctx context.Context, db Querier) (int, error) { return version(ctx, db) }

func version(ctx context.Context, db Querier) (int, error) {
	list, err := functions(ctx, db)
	if err != nil {
		return 0, err
	}
	for _, f := range list {
		if f.Name == "schema_version" && f.Arguments == "" {
			var v int
			if err := db.QueryRow(ctx, schema.QueryVersion).Scan(&v); err != nil {
				return 0, fmt.Errorf("call walpost.schema_version(): %w", err)
			}
			return v, nil
		}
	}
	return 0, nil
}

// HasPublish reports whether the database has the function walpost.publish().
func HasPublish(ctx context.Context, db Querier) (bool, error) {
	list, err := functions(ctx, db)
	return slices.ContainsFunc(list, func(f schema.LiveFunction) bool {
		return f.Name == "publish" && f.Arguments == "text, text, text, jsonb, jsonb"
	}), err
}
