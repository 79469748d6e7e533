package postgres

import (
	"context"
	"errors"
	"fmt"

	"walpost/internal/catalog"
	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// CheckSchema checks that schema walpost exists, with a version that this program can work with.
func CheckSchema(ctx context.Context, db *DB, outbox schema.Table) error {
	version, err := catalog.Version(ctx, db)
	there := version != 0
	if err == nil && !there { // no schema_version(), or one that somebody made return 0
		err = db.QueryRow(ctx, "select pg_catalog.to_regprocedure('walpost.schema_version()') is not null").Scan(&there)
	}
	switch {
	case err != nil:
		return err
	case !there:
		return pgerror.Permanent(reason.SchemaMissing, errors.New("schema walpost does not exist in this database"), "run: %s", schema.Command("apply", outbox))
	case version < schema.Version:
		return pgerror.Permanent(reason.SchemaOutdated, fmt.Errorf("schema walpost has version %d, and this walpost needs version %d", version, schema.Version), "run: %s", schema.Command("apply", outbox))
	}
	return nil
}
