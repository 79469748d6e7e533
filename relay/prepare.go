package relay

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"

	"walpost/internal/catalog"
	"walpost/schema"
)

// bytea is the oid of Postgres's type for bytes.
const bytea = 17

// ready is what the checks found.
type ready struct {
	table   catalog.Described
	binary  bool // the payload is worth the binary format
	slot    *slotRow
	version int // server_version_num
}

// slotName is what Postgres takes as a slot's name.
var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// errStandby says that another relay is at it.
var errStandby = errors.New("another relay is making the first start of this slot")

// prepare makes sure that the slot can be streamed: it checks what is there, makes what a first start makes, backfill included, and says
// what only a person can cure.
func (r *Relay) prepare(ctx context.Context, db *database) (*ready, error) {
	p := &ready{}
	if err := r.checkServer(ctx, db, p); err != nil {
		return nil, err
	}
	if err := r.checkTable(ctx, db, p); err != nil {
		return nil, err
	}
	state, err := readState(ctx, db, r.cfg.Slot)
	if err != nil {
		return nil, err
	}
	if p.slot, err = r.readSlot(ctx, db); err != nil {
		return nil, err
	}
	if err := r.checkPublication(ctx, db, p); err != nil {
		return nil, err
	}
	switch {
	case p.slot == nil && state != nil && state.phase == phaseStreaming:
		return nil, r.missingSlot(state)
	case p.slot == nil && !slotName.MatchString(r.cfg.Slot):
		return nil, permanent(fmt.Errorf("no slot can have the name %q", r.cfg.Slot), "choose another one: up to 63 lower-case letters, digits and underscores")
	case p.slot == nil, state != nil && state.phase == phaseBackfilling:
		if err := r.checkReadable(ctx, db, p); err != nil {
			return nil, err
		}
		if err := r.firstStart(ctx, db, p); err != nil {
			return nil, err
		}
		p.slot, err = r.readSlot(ctx, db)
		if p.slot == nil && err == nil {
			err = fmt.Errorf("slot %s was dropped during the first start", r.cfg.Slot)
		}
		return p, err
	}
	return p, r.checkSlot(p.slot, state)
}

// checkServer checks what the server is and what it was set up for.
func (r *Relay) checkServer(ctx context.Context, db *database, p *ready) error {
	var level string
	var standby bool
	err := db.QueryRow(ctx, `
		select current_setting('server_version_num')::int, coalesce(current_setting('effective_wal_level', true), current_setting('wal_level')),
		       pg_catalog.pg_is_in_recovery()`).Scan(&p.version, &level, &standby)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	r.connected = true
	switch {
	case p.version < 14_00_00:
		return permanent(fmt.Errorf("the server is Postgres %d", p.version/10000), "walpost needs 14 or later")
	case standby: // a promotion makes it the one
		return fmt.Errorf("the server is a standby: waiting for its promotion")
	case level != "logical" && p.version < 19_00_00:
		return permanent(fmt.Errorf("wal_level is %s", level), "run: ALTER SYSTEM SET wal_level = logical, and restart the server")
	}
	version, err := catalog.Version(ctx, db)
	switch {
	case err != nil:
		return err
	case version == 0:
		return permanent(errors.New("schema walpost is not in this database"), "run: walpost schema apply")
	case version < schema.Version:
		return permanent(fmt.Errorf("schema walpost is of version %d, and this walpost needs %d", version, schema.Version), "run: walpost schema apply")
	}
	return nil
}

// checkTable checks that the table is there and its columns fit.
func (r *Relay) checkTable(ctx context.Context, db *database, p *ready) (err error) {
	p.table, err = catalog.Describe(ctx, db, r.cfg.Table)
	var absent *catalog.TableError
	if errors.As(err, &absent) {
		return permanent(err, "")
	}
	if err != nil {
		return err
	}
	if _, err := r.cfg.Mapping.Plan(r.cfg.Table, p.table.Columns); err != nil {
		return permanent(err, "")
	}
	for _, c := range p.table.Columns {
		if c.Name == r.cfg.Mapping.Names[schema.Payload] {
			p.binary = c.OID == bytea
		}
	}
	return nil
}

// checkPublication checks the publication, and makes it for a first start where the role may. It has to be there before the slot: it is
// looked up as it was at each point of the WAL.
func (r *Relay) checkPublication(ctx context.Context, db *database, p *ready) error {
	o := schema.Options{Table: r.cfg.Table, Publication: r.cfg.Publication}
	name := schema.QuoteIdent(r.cfg.Publication)
	var inserts, viaRoot, member, filtered bool
	// prqual is there since 15, so it is asked for in a way that needs no column.
	err := db.QueryRow(ctx, `
		select pubinsert, pubviaroot, exists (
		         select from pg_catalog.pg_publication_tables t where t.pubname = p.pubname and t.schemaname = $2 and t.tablename = $3), exists (
		         select from pg_catalog.pg_publication_rel m where m.prpubid = p.oid and to_jsonb(m) ->> 'prqual' is not null
		           and (m.prrelid = $4 or m.prrelid in (select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = $4)))
		from pg_catalog.pg_publication p where pubname = $1`, r.cfg.Publication, r.cfg.Table.Schema, r.cfg.Table.Name, p.table.OID).Scan(
		&inserts, &viaRoot, &member, &filtered)
	switch {
	case errors.Is(err, pgx.ErrNoRows) && p.slot != nil:
		return permanent(fmt.Errorf("publication %s does not exist, but slot %s does", name, r.cfg.Slot),
			"run: %s; events committed before that cannot be read from the slot: advance it (SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())) and publish them from the table",
			schema.PublicationSQL(o), schema.QuoteLiteral(r.cfg.Slot))
	case errors.Is(err, pgx.ErrNoRows):
		return r.createPublication(ctx, db, o)
	case err != nil:
		return fmt.Errorf("look up publication %s: %w", name, err)
	case p.table.Partitioned && !viaRoot: // then pg_publication_tables lists the partitions and not the root
		return permanent(fmt.Errorf("publication %s shows partitions of %s and not the table", name, r.cfg.Table),
			"run: ALTER PUBLICATION %s SET (publish_via_partition_root = true)", name)
	case !member:
		return permanent(fmt.Errorf("publication %s does not have table %s", name, r.cfg.Table), "run: ALTER PUBLICATION %s ADD TABLE %s", name, r.cfg.Table)
	case filtered: // committed rows would be left out, and nobody told
		return permanent(fmt.Errorf("publication %s has a row filter on table %s", name, r.cfg.Table), "run: ALTER PUBLICATION %s SET TABLE %s", name, r.cfg.Table)
	case !inserts:
		return permanent(fmt.Errorf("publication %s does not publish inserts", name), "run: ALTER PUBLICATION %s SET (publish = 'insert')", name)
	}
	return nil
}

// checkReadable checks, before a slot is made for them, that a backfill may read the rows.
func (r *Relay) checkReadable(ctx context.Context, db *database, p *ready) error {
	if r.cfg.Backfill == "skip" {
		return nil
	}
	var may bool
	if err := db.QueryRow(ctx, "select pg_catalog.has_table_privilege($1::oid, 'SELECT')", p.table.OID).Scan(&may); err != nil {
		return fmt.Errorf("look up the rights on %s: %w", r.cfg.Table, err)
	}
	if !may {
		return permanent(fmt.Errorf("the role %s may not read %s, which the first start does", r.names.role, r.cfg.Table),
			"run: GRANT SELECT ON %s TO %s; or set outbox.backfill: skip", r.cfg.Table, schema.QuoteIdent(r.names.role))
	}
	return nil
}

func (r *Relay) createPublication(ctx context.Context, db *database, o schema.Options) error {
	sql := schema.PublicationSQL(o)
	_, err := db.Exec(ctx, sql)
	switch {
	case isSQLState(err, "42501"):
		return permanent(fmt.Errorf("publication %s does not exist, and the role %s may not create it: %w", o.Publication, r.names.role, err),
			"run as the owner of %s: %s", r.cfg.Table, sql)
	case err != nil && !isSQLState(err, "42710"): // another relay made it
		return fmt.Errorf("create publication %s: %w", o.Publication, err)
	}
	r.log.Info("created publication", "publication", o.Publication, "table", r.cfg.Table.String())
	return nil
}
