package postgres

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

// Found is what the checks found.
type Found struct {
	Table       catalog.Described
	Places      []schema.TableColumn // the table's columns if their places were always the same, else nil
	At          pglogrepl.LSN        // what was committed before it is older than table
	Binary      bool                 // the payload is worth the binary format
	Slot        *Slot
	Publication *publication // nil: it was made just now
	Version     int          // server_version_num
}

// slotName is what Postgres takes as a slot's name.
var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// errInRecovery says that the server is a standby.
var errInRecovery error = &pgerror.Wait{Err: errors.New("the server is a standby: waiting for its promotion"), Cure: pgerror.Promote}

// CheckNoSlot checks that a slot that is not there may be made.
func (src *Source) CheckNoSlot(state *RelayState) error {
	switch {
	case state != nil && state.Phase == PhaseStreaming:
		return src.missingSlot(state)
	case !slotName.MatchString(src.Slot):
		return pgerror.Permanent(fmt.Errorf("no slot can have the name %q", src.Slot), "choose another one: up to 63 lower-case letters, digits and underscores")
	}
	return nil
}

// CheckServer checks what the server is and what it was set up for.
func (src *Source) CheckServer(ctx context.Context, db *DB, p *Found) error {
	var level, at string
	var standby bool
	err := db.QueryRow(ctx, `
		select current_setting('server_version_num')::int, coalesce(current_setting('effective_wal_level', true), current_setting('wal_level')),
		       pg_catalog.pg_is_in_recovery(), case when pg_catalog.pg_is_in_recovery() then '0/0' else pg_catalog.pg_current_wal_flush_lsn()::text end`).
		Scan(&p.Version, &level, &standby, &at)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if p.At, err = pglogrepl.ParseLSN(at); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	src.Connected = true
	switch {
	case p.Version < 14_00_00:
		return pgerror.Permanent(fmt.Errorf("the server is Postgres %d", p.Version/10000), "walpost needs 14 or later")
	case standby: // a promotion makes it the one
		return errInRecovery
	case level != "logical" && p.Version < 19_00_00:
		return pgerror.Permanent(fmt.Errorf("wal_level is %s", level), "run: ALTER SYSTEM SET wal_level = logical, and restart the server")
	}
	return nil
}

// CheckSchema checks that schema walpost is there, of a version that this program can work with.
func CheckSchema(ctx context.Context, db *DB, outbox schema.Table) error {
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

// CheckTable checks that the table is there and its columns fit.
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
		return pgerror.Permanent(err, "")
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

// noTable is the fault of an outbox whose name leads nowhere. The one that was streamed before may have another name now.
func (src *Source) noTable(ctx context.Context, db *DB, absent error, state *RelayState) error {
	var elsewhere string
	if state != nil && state.Table != 0 {
		var err error
		if elsewhere, err = tableName(ctx, db, state.Table); err != nil {
			return err
		}
	}
	return src.AbsentTable(absent, elsewhere)
}

// CheckPublication checks the publication, and makes it for a first start where the role may. It has to be there before the slot: it is
// looked up as it was at each point of the WAL.
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
	return src.createPublication(ctx, db)
}

// CheckPublished checks that every row of the table goes through the publication, and whole.
func (src *Source) CheckPublished(pub *publication, p *Found) error {
	err := src.CheckComplete(pub, &p.Table)
	if p.Slot != nil {
		err = src.WithGap(err, time.Time{})
	}
	return err
}

// CheckReadable checks that a backfill may read all rows of the table.
func (src *Source) CheckReadable(ctx context.Context, db *DB, p *Found) error {
	var may, hidden bool
	err := db.QueryRow(ctx, "select pg_catalog.has_table_privilege($1::oid, 'SELECT'), pg_catalog.row_security_active($1::oid)", p.Table.OID).Scan(&may, &hidden)
	role := schema.QuoteIdent(src.Names.Role)
	switch {
	case err != nil:
		return fmt.Errorf("look up the rights on %s: %w", src.Table, err)
	case !may:
		return pgerror.Permanent(fmt.Errorf("the role %s may not read %s, which the first start does", src.Names.Role, src.Table),
			"run: GRANT SELECT ON %s TO %s; or set outbox.backfill: skip", src.Table, role)
	case hidden: // rows that a policy hides would never be published, and nobody told
		return pgerror.Permanent(fmt.Errorf("row level security of %s applies to the role %s, and the first start has to read every row", src.Table, src.Names.Role),
			"run: ALTER ROLE %s BYPASSRLS; or, as the table's owner: ALTER TABLE %s DISABLE ROW LEVEL SECURITY (no policy is enough); or set outbox.backfill: skip",
			role, src.Table)
	}
	return nil
}

// MayNotPublish is the fault of a publication that a first start would have to make and may not.
func (src *Source) MayNotPublish(err error) error {
	return pgerror.Permanent(fmt.Errorf("publication %s does not exist, and the role %s may not create it: %w", src.Publication, src.Names.Role, err),
		"run as the owner of %s: %s", src.Table, src.PublicationSQL())
}

func (src *Source) createPublication(ctx context.Context, db *DB) error {
	_, err := db.Exec(ctx, src.PublicationSQL())
	switch {
	case pgerror.IsSQLState(err, "42501"):
		return src.MayNotPublish(err)
	case err != nil && !pgerror.IsSQLState(err, "42710"): // another relay made it
		return fmt.Errorf("create publication %s: %w", src.Publication, err)
	}
	src.Logger.Info("created publication", "publication", src.Publication, "table", src.Table.String())
	return nil
}

// CheckPrimary checks the server as a start does. Its promotion only a relay waits for.
func (src *Source) CheckPrimary(ctx context.Context, db *DB, found *Found) error {
	err := src.CheckServer(ctx, db, found)
	if errors.Is(err, errInRecovery) {
		return pgerror.Permanent(errors.New("the server is a standby"), "connect to its primary")
	}
	return err
}

// CheckVisible checks that every row of the table goes through the publication, and whole, which is not made here.
func (src *Source) CheckVisible(ctx context.Context, db *DB, found *Found) error {
	pub, err := src.ReadPublication(ctx, db, found.Table.OID)
	switch {
	case err != nil:
		return err
	case pub == nil:
		return pgerror.Permanent(fmt.Errorf("publication %s does not exist", schema.QuoteIdent(src.Publication)),
			"run as the owner of %s: %s", src.Table, src.PublicationSQL())
	}
	return src.CheckComplete(pub, &found.Table)
}
