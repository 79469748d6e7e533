package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"walpost/schema"
)

// readLive describes the objects of the database that o names, for [schema.Diff].
func readLive(ctx context.Context, db Querier, o schema.Options) (schema.Live, error) {
	o = o.WithDefaults()
	live := schema.Live{Tables: map[schema.Table]schema.LiveTable{}, Roles: map[string]schema.LiveRole{}}
	err := db.QueryRow(ctx, `select pg_catalog.current_database()::text`).Scan(&live.Database)
	if err != nil {
		return live, fmt.Errorf("ask for the database's name: %w", err)
	}
	if live.Version, err = version(ctx, db); err != nil {
		return live, err
	}
	if live.Functions, err = functions(ctx, db); err != nil {
		return live, err
	}
	for _, t := range schema.Tables(o) {
		if err := readTable(ctx, db, t, live.Tables); err != nil {
			return live, err
		}
	}
	if live.Publication, err = publication(ctx, db, o); err != nil {
		return live, err
	}
	if err := roles(ctx, db, o, live.Roles); err != nil {
		return live, err
	}
	live.Grants, err = grants(ctx, db, o)
	return live, err
}

func readTable(ctx context.Context, db Querier, t schema.Table, tables map[schema.Table]schema.LiveTable) error {
	live, err := describe(ctx, db, t)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	rows, err := db.Query(ctx, schema.QueryIndexes, live.OID)
	if err != nil {
		return fmt.Errorf("describe the indexes of table %s: %w", t, err)
	}
	var name string
	var unique []string
	_, err = pgx.ForEachRow(rows, []any{&name, &unique}, func() error {
		live.Indexes = append(live.Indexes, name)
		if unique != nil {
			live.Unique = append(live.Unique, unique)
		}
		unique = nil
		return nil
	})
	if err != nil {
		return fmt.Errorf("describe the indexes of table %s: %w", t, err)
	}
	if rows, err = db.Query(ctx, schema.QueryChecks, live.OID); err == nil {
		live.Checks, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return fmt.Errorf("describe the constraints of table %s: %w", t, err)
	}
	tables[t] = live
	return nil
}

func functions(ctx context.Context, db Querier) ([]schema.LiveFunction, error) {
	rows, err := db.Query(ctx, schema.QueryFunctions)
	if err != nil {
		return nil, fmt.Errorf("describe the functions of schema walpost: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f schema.LiveFunction, err error) {
		err = row.Scan(&f.Name, &f.Arguments, &f.Result, &f.Body, &f.Definer)
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("describe the functions of schema walpost: %w", err)
	}
	return list, nil
}

// publication returns nil if the publication does not exist.
func publication(ctx context.Context, db Querier, o schema.Options) (*schema.LivePublication, error) {
	p := &schema.LivePublication{}
	err := db.QueryRow(ctx, schema.QueryPublication, o.Publication, o.Table.Schema, o.Table.Name, o.Table.String()).
		Scan(&p.Insert, &p.Update, &p.Delete, &p.Truncate, &p.ViaRoot, &p.Member, &p.Columns, &p.Filter)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("describe publication %s: %w", o.Publication, err)
	}
	return p, nil
}

func roles(ctx context.Context, db Querier, o schema.Options, found map[string]schema.LiveRole) error {
	rows, err := db.Query(ctx, schema.QueryRoles, []string{o.AppRole, o.RelayRole})
	if err != nil {
		return fmt.Errorf("describe the roles: %w", err)
	}
	var name string
	r := schema.LiveRole{Exists: true}
	_, err = pgx.ForEachRow(rows, []any{&name, &r.Login, &r.Replication, &r.Connect, &r.RDS}, func() error {
		found[name] = r
		return nil
	})
	if err != nil {
		return fmt.Errorf("describe the roles: %w", err)
	}
	return nil
}

func grants(ctx context.Context, db Querier, o schema.Options) (map[schema.Grant]bool, error) {
	wanted := schema.Grants(o)
	var role, kind, object, privilege []string
	for _, g := range wanted {
		role, kind = append(role, g.Role), append(kind, g.Kind)
		object, privilege = append(object, g.Object), append(privilege, g.Privilege)
	}
	rows, err := db.Query(ctx, schema.QueryGrants, role, kind, object, privilege)
	if err != nil {
		return nil, fmt.Errorf("describe the grants: %w", err)
	}
	held, err := pgx.CollectRows(rows, pgx.RowTo[bool])
	if err != nil {
		return nil, fmt.Errorf("describe the grants: %w", err)
	}
	found := make(map[schema.Grant]bool, len(wanted))
	for i, g := range wanted {
		found[g] = held[i]
	}
	return found, nil
}
