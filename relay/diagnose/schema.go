package diagnose

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"walpost/internal/catalog"
	"walpost/internal/diagnosis"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/schema"
)

// schema checks schema walpost. It reports whether walpost can work with the schema.
func (d *diagnosing) schema(ctx context.Context, db *postgres.DB) bool {
	const check = "schema"
	if err := postgres.CheckSchema(ctx, db, d.Table); err != nil {
		d.fail(check, d.Classify(err, pgerror.Preparing), unasked)
		return false
	}
	d.list.OK(check, "schema walpost exists, with the version that this walpost needs (%d) or later", schema.Version)
	return true
}

// differences reports what `walpost schema check` reports, except what another check covers. `walpost run` does not check most of it.
func (d *diagnosing) differences(ctx context.Context, db *postgres.DB) {
	const check = "schema"
	list, err := catalog.Check(ctx, db.Conn, schema.Options{Table: d.Table, Mapping: d.Mapping, Publication: d.Publication, Topic: d.topic, RelayRole: d.Names.Role})
	if err != nil {
		d.fail(check, d.Classify(err, pgerror.Preparing), unasked)
		return
	}
	for _, one := range list {
		level := d.weigh(one)
		if level == diagnosis.OK {
			continue
		}
		cure := one.Cure
		if !strings.HasPrefix(cure, "name another") {
			cure = "run: " + cure
		}
		d.list.Add(check, level, fmt.Sprintf("%s: found %s, wanted %s", one.Object, one.Found, one.Wanted), cure)
	}
}

const deadLetters = "table walpost.dead_letters"

// weigh returns the level of a difference. It returns OK if another check covers the difference.
func (d *diagnosing) weigh(one schema.Difference) diagnosis.Level {
	table := d.Table.String()
	switch {
	case strings.HasPrefix(one.Object, "publication "):
		return diagnosis.OK
	case one.Object == "role "+d.Names.Role && strings.HasPrefix(one.Found, "no "):
		switch {
		case strings.HasSuffix(one.Found, " on table "+table), one.Found == "no replication", one.Found == "no login", one.Found == "no right to connect":
			return diagnosis.OK // the checks backfill and replication report it, and the role is connected
		case strings.HasSuffix(one.Found, " on table walpost.relay_state") && one.Found != "no DELETE on table walpost.relay_state":
			return diagnosis.Failed
		case d.park && strings.HasSuffix(one.Found, " on table walpost.dead_letters"):
			return diagnosis.Failed
		}
	case d.park && one.Found == "nothing" && (one.Object == deadLetters || strings.HasPrefix(one.Object, deadLetters+", column ")):
		return diagnosis.Failed // the relay does not start without it
	case one.Object == "table "+table, strings.HasPrefix(one.Object, "table "+table+", ") && strings.HasPrefix(one.Cure, "name another"),
		strings.HasPrefix(one.Object, "table "+table+", child "), strings.HasPrefix(one.Object, "table "+table+", partition "):
		return diagnosis.OK
	}
	return diagnosis.Warning
}

// publication checks the publication. If that does not exist, it checks whether a first start may create it.
func (d *diagnosing) publication(ctx context.Context, db *postgres.DB) {
	const check = "publication"
	name := schema.QuoteIdent(d.Publication)
	p, err := d.ReadPublication(ctx, db, d.found.Table.OID)
	switch {
	case err != nil:
	case p != nil:
		err = d.CheckPublished(p, &d.found)
	case d.found.Slot != nil:
		err = d.NoPublication()
	}
	if err == nil && p != nil {
		d.list.OK(check, "publication %s publishes every insert into %s", name, d.Table)
		return
	}
	var may bool
	if err == nil {
		err = db.QueryRow(ctx, `select pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') and pg_catalog.pg_has_role(relowner, 'USAGE')
			from pg_catalog.pg_class where oid = $1`, d.found.Table.OID).Scan(&may)
		if err == nil && !may {
			err = d.MayNotPublish(errors.New("that needs CREATE on the database, and ownership of the table"))
		}
		if err == nil {
			err = d.CheckCreatable(ctx, db)
		}
	}
	if err != nil {
		d.fail(check, d.Classify(err, pgerror.Preparing), unasked)
		return
	}
	d.list.OK(check, "publication %s does not exist yet: the first run creates it", name)
}

// backfill checks that a first start may read what it needs.
func (d *diagnosing) backfill(ctx context.Context, db *postgres.DB) {
	const check = "backfill"
	if d.onStart == "skip" {
		d.list.OK(check, "the first run does not publish the rows that are in %s (outbox.backfill: skip)", d.Table)
		return
	}
	if err := d.CheckReadable(ctx, db, &d.found); err != nil {
		d.fail(check, d.Classify(err, pgerror.Preparing), unasked)
		return
	}
	d.list.OK(check, "the first run may read the rows that are in %s, and publishes them", d.Table)
}
