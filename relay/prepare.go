package relay

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/internal/catalog"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// bytea is the oid of Postgres's type for bytes.
const bytea = 17

// ready is what the checks found.
type ready struct {
	table       catalog.Described
	places      []schema.TableColumn // the table's columns if their places were always the same, else nil
	at          pglogrepl.LSN        // what was committed before it is older than table
	binary      bool                 // the payload is worth the binary format
	slot        *slotRow
	publication *publication // nil: it was made just now
	version     int          // server_version_num
	unrecorded  bool         // of a first start: walpost.relay_state had nothing of the slot when the lock was had
	begun       bool         // and now it has, from this first start
}

// slotName is what Postgres takes as a slot's name.
var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// errStandby says that another relay is at it.
var errStandby = errors.New("another relay is making the first start of this slot")

// errInRecovery says that the server is a standby.
var errInRecovery error = &pgerror.Wait{Err: errors.New("the server is a standby: waiting for its promotion"), Cure: pgerror.Promote}

// prepare makes sure that the slot can be streamed: it checks what is there, makes what a first start makes, backfill included, and says
// what only a person can cure.
func (r *Relay) prepare(ctx context.Context, db *database) (*ready, error) {
	p := &ready{}
	if err := r.checkServer(ctx, db, p); err != nil {
		return nil, err
	}
	if err := checkSchema(ctx, db, r.cfg.Table); err != nil {
		return nil, err
	}
	if err := r.checkWritable(ctx, db); err != nil {
		return nil, err
	}
	state, err := readState(ctx, db, r.cfg.Slot)
	if err != nil {
		return nil, err
	}
	if err := r.checkTable(ctx, db, p, state); err != nil {
		return nil, err
	}
	if p.slot, err = r.readSlot(ctx, db); err != nil {
		return nil, err
	}
	if p.slot != nil && p.slot.foreign { // nothing that is missing here is this slot's concern
		return nil, r.checkSlot(p.slot, state)
	}
	if err := r.checkPublication(ctx, db, p); err != nil {
		return nil, err
	}
	if p.slot == nil {
		if err := r.checkNoSlot(state); err != nil {
			return nil, err
		}
	}
	if p.slot == nil || state != nil && state.phase == phaseBackfilling {
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

// checkNoSlot checks that a slot that is not there may be made.
func (r *Relay) checkNoSlot(state *relayState) error {
	switch {
	case state != nil && state.phase == phaseStreaming:
		return r.missingSlot(state)
	case !slotName.MatchString(r.cfg.Slot):
		return pgerror.Permanent(fmt.Errorf("no slot can have the name %q", r.cfg.Slot), "choose another one: up to 63 lower-case letters, digits and underscores")
	}
	return nil
}

// checkServer checks what the server is and what it was set up for.
func (r *Relay) checkServer(ctx context.Context, db *database, p *ready) error {
	var level, at string
	var standby bool
	err := db.QueryRow(ctx, `
		select current_setting('server_version_num')::int, coalesce(current_setting('effective_wal_level', true), current_setting('wal_level')),
		       pg_catalog.pg_is_in_recovery(), case when pg_catalog.pg_is_in_recovery() then '0/0' else pg_catalog.pg_current_wal_flush_lsn()::text end`).
		Scan(&p.version, &level, &standby, &at)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if p.at, err = pglogrepl.ParseLSN(at); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	r.connected = true
	r.watcher.meet()
	switch {
	case p.version < 14_00_00:
		return pgerror.Permanent(fmt.Errorf("the server is Postgres %d", p.version/10000), "walpost needs 14 or later")
	case standby: // a promotion makes it the one
		return errInRecovery
	case level != "logical" && p.version < 19_00_00:
		return pgerror.Permanent(fmt.Errorf("wal_level is %s", level), "run: ALTER SYSTEM SET wal_level = logical, and restart the server")
	}
	return nil
}

// checkSchema checks that schema walpost is there, of a version that this program can work with.
func checkSchema(ctx context.Context, db *database, outbox schema.Table) error {
	version, err := catalog.Version(ctx, db)
	there := version != 0
	if err == nil && !there { // none, or one that somebody made say 0
		err = db.QueryRow(ctx, "select pg_catalog.to_regprocedure('walpost.schema_version()') is not null").Scan(&there)
	}
	switch {
	case err != nil:
		return err
	case !there:
		return pgerror.Permanent(errors.New("schema walpost is not in this database"), "run: %s", schema.Command("apply", outbox))
	case version < schema.Version:
		return pgerror.Permanent(fmt.Errorf("schema walpost is of version %d, and this walpost needs %d", version, schema.Version), "run: %s", schema.Command("apply", outbox))
	}
	return nil
}

// checkTable checks that the table is there and its columns fit.
func (r *Relay) checkTable(ctx context.Context, db *database, p *ready, state *relayState) (err error) {
	p.table, err = catalog.Describe(ctx, db, r.cfg.Table)
	var absent *catalog.TableError
	if errors.As(err, &absent) {
		return r.noTable(ctx, db, absent, state)
	}
	if err != nil {
		return err
	}
	if _, err := r.cfg.Mapping.Plan(r.cfg.Table, p.table.Columns); err != nil {
		return pgerror.Permanent(err, "")
	}
	if p.places, err = readPlaces(ctx, db, p.table); err != nil {
		return err
	}
	for _, c := range p.table.Columns {
		if c.Name == r.cfg.Mapping.Names[schema.Payload] {
			p.binary = c.OID == bytea
		}
	}
	return nil
}

// noTable is the fault of an outbox whose name leads nowhere. The one that was streamed before may have another name now.
func (r *Relay) noTable(ctx context.Context, db *database, absent error, state *relayState) error {
	var elsewhere string
	if state != nil && state.table != 0 {
		var err error
		if elsewhere, err = tableName(ctx, db, state.table); err != nil {
			return err
		}
	}
	return r.absentTable(absent, elsewhere)
}

// checkPublication checks the publication, and makes it for a first start where the role may. It has to be there before the slot: it is
// looked up as it was at each point of the WAL.
func (r *Relay) checkPublication(ctx context.Context, db *database, p *ready) error {
	pub, err := r.readPublication(ctx, db, p.table.OID)
	switch {
	case err != nil:
		return err
	case pub != nil:
		p.publication = pub
		return r.checkPublished(pub, p)
	case p.slot != nil:
		return r.noPublication()
	}
	return r.createPublication(ctx, db)
}

// checkPublished checks that every row of the table goes through the publication, and whole.
func (r *Relay) checkPublished(pub *publication, p *ready) error {
	err := pub.check(r, &p.table)
	if p.slot != nil {
		err = r.withGap(err, time.Time{})
	}
	return err
}

// checkReadable checks, before a slot is made for them, that a backfill may read the rows.
func (r *Relay) checkReadable(ctx context.Context, db *database, p *ready) error {
	if r.cfg.Backfill == "skip" {
		return nil
	}
	var may, hidden bool
	err := db.QueryRow(ctx, "select pg_catalog.has_table_privilege($1::oid, 'SELECT'), pg_catalog.row_security_active($1::oid)", p.table.OID).Scan(&may, &hidden)
	role := schema.QuoteIdent(r.names.Role)
	switch {
	case err != nil:
		return fmt.Errorf("look up the rights on %s: %w", r.cfg.Table, err)
	case !may:
		return pgerror.Permanent(fmt.Errorf("the role %s may not read %s, which the first start does", r.names.Role, r.cfg.Table),
			"run: GRANT SELECT ON %s TO %s; or set outbox.backfill: skip", r.cfg.Table, role)
	case hidden: // rows that a policy hides would never be published, and nobody told
		return pgerror.Permanent(fmt.Errorf("row level security of %s applies to the role %s, and the first start has to read every row", r.cfg.Table, r.names.Role),
			"run: ALTER ROLE %s BYPASSRLS; or, as the table's owner: ALTER TABLE %s DISABLE ROW LEVEL SECURITY (no policy is enough); or set outbox.backfill: skip",
			role, r.cfg.Table)
	}
	return nil
}

// mayNotPublish is the fault of a publication that a first start would have to make and may not.
func (r *Relay) mayNotPublish(err error) error {
	return pgerror.Permanent(fmt.Errorf("publication %s does not exist, and the role %s may not create it: %w", r.cfg.Publication, r.names.Role, err),
		"run as the owner of %s: %s", r.cfg.Table, r.publicationSQL())
}

func (r *Relay) createPublication(ctx context.Context, db *database) error {
	_, err := db.Exec(ctx, r.publicationSQL())
	switch {
	case pgerror.IsSQLState(err, "42501"):
		return r.mayNotPublish(err)
	case err != nil && !pgerror.IsSQLState(err, "42710"): // another relay made it
		return fmt.Errorf("create publication %s: %w", r.cfg.Publication, err)
	}
	r.log.Info("created publication", "publication", r.cfg.Publication, "table", r.cfg.Table.String())
	return nil
}
