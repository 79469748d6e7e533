package catalog

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/pgtest"
	"walpost/schema"
)

// On RDS and Aurora no user may set the attribute REPLICATION. A user who is not a superuser grants the role rds_replication instead. That
// role does not exist elsewhere. The printed script and apply work on both, and each may run again.
func TestReplicationOnRDSAndElsewhere(t *testing.T) {
	for _, major := range []int{14, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			server := pgtest.Start(t, pgtest.Options{Major: major}) // of its own: roles belong to the whole server
			db := &pgtest.DB{Name: "shop", DSN: server.DSN("shop"), Major: major}
			admin := connect(t, &pgtest.DB{DSN: server.DSN("postgres")})
			for _, sql := range []string{
				"create role rds_replication", "create role master login createrole", "grant rds_replication to master with admin option",
				"create role app", "create role printed login", "create role applied login", "create role early login replication",
				"create role late login", "create role later login", "create database shop owner master",
			} {
				execSQL(t, admin, sql)
			}
			master := connectAs(t, db.DSN, "master")

			for range 2 {
				paste(t, master, schema.Options{AppRole: "app", RelayRole: "printed"})
				mustApply(t, master, schema.Options{RelayRole: "applied"})
			}
			for role, wanted := range map[string]string{"printed": "granted", "applied": "granted"} {
				if got := streams(t, admin, role); got != wanted {
					t.Errorf("with rds_replication: %s is %s, want %s", role, got, wanted)
				}
				clean(t, master, schema.Options{AppRole: "app", RelayRole: role})
			}
			list, err := Check(deadline(t), master, schema.Options{RelayRole: "late"})
			if err != nil || !cures(list, "grant rds_replication to late") {
				t.Errorf("check with rds_replication: %v, %v", list, err)
			}

			execSQL(t, admin, "drop role rds_replication")
			paste(t, master, schema.Options{RelayRole: "early"}) // an administrator has set the attribute already: nothing to do
			owner := connect(t, db)
			for range 2 {
				paste(t, owner, schema.Options{RelayRole: "late"})
				mustApply(t, owner, schema.Options{RelayRole: "later"})
			}
			for role, wanted := range map[string]string{"early": "attribute", "late": "attribute", "later": "attribute", "printed": "neither"} {
				if got := streams(t, admin, role); got != wanted {
					t.Errorf("without rds_replication: %s is %s, want %s", role, got, wanted)
				}
			}
			list, err = Check(deadline(t), master, schema.Options{RelayRole: "printed"})
			if err != nil || !cures(list, "alter role printed replication") {
				t.Errorf("check without rds_replication: %v, %v", list, err)
			}
			if n := queryOne[int](t, owner, `select count(*) from pg_proc where proname like 'setup_%'`); n != 0 {
				t.Errorf("%d functions are left from setting up", n)
			}
		})
	}
}

// An ordinary owner has only CREATE on the database. It is not a superuser, may not create roles, does not own the database, and may not
// grant the right to stream, which an administrator has granted to the relay before. The printed script works nevertheless, for its own
// tables and for those of walpost, and so does apply.
func TestAnOrdinaryOwner(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		major  int
		stream string // what gives the relay's role the right to stream
	}{{14, "alter role relay replication"}, {18, "create role rds_replication; grant rds_replication to relay"}} {
		t.Run(fmt.Sprint(c.major), func(t *testing.T) {
			server := pgtest.Start(t, pgtest.Options{Major: c.major}) // of its own: roles belong to the whole server
			admin := connect(t, &pgtest.DB{DSN: server.DSN("postgres")})
			execSQL(t, admin, "create role owner login; create role app login; create role relay login; "+c.stream)
			for _, database := range []string{"printed", "applied"} {
				execSQL(t, admin, "create database "+database)
				execSQL(t, admin, "revoke all on database "+database+" from public; grant create, connect on database "+database+" to owner; grant connect on database "+database+" to relay, app")
			}
			own := schema.Table{Schema: "mine", Name: "events"}
			for database, migrate := range map[string]func(conn *pgx.Conn, o schema.Options){
				"printed": func(conn *pgx.Conn, o schema.Options) { paste(t, conn, o) },
				"applied": func(conn *pgx.Conn, o schema.Options) { mustApply(t, conn, o) },
			} {
				conn := connectAs(t, server.DSN(database), "owner")
				execSQL(t, conn, "create schema mine; create table mine.events (id uuid, aggregatetype text, aggregateid text, type text, payload jsonb, headers jsonb)")
				for _, o := range []schema.Options{{AppRole: "app", RelayRole: "relay"}, {Table: own, AppRole: "app", RelayRole: "relay", Publication: "mine"}} {
					for range 2 {
						migrate(conn, o)
						execSQL(t, conn, schema.ChecksScript(o))
						clean(t, conn, o)
					}
				}
				app := connectAs(t, server.DSN(database), "app")
				execSQL(t, app, "select walpost.publish('order', '1', 'x', null); select walpost.claim('stock', 'e', 's')")
			}
		})
	}
}

// connectAs logs in as the role.
func connectAs(t *testing.T, dsn, role string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.User = role
	conn, err := pgx.ConnectConfig(deadline(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// paste runs the printed script as a migration tool does, one statement after the other.
func paste(t *testing.T, conn *pgx.Conn, o schema.Options) {
	t.Helper()
	for statement := range strings.SplitSeq(schema.Script(o), ";\n") {
		execSQL(t, conn, statement)
	}
}

// streams returns what gives a role the right to stream the WAL.
func streams(t *testing.T, conn *pgx.Conn, role string) string {
	t.Helper()
	return queryOne[string](t, conn, `select case when rolreplication then 'attribute' when exists (
		select from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid and g.rolname = 'rds_replication') then 'granted'
		else 'neither' end from pg_roles r where rolname = $1`, role)
}

func cures(list []schema.Difference, cure string) bool {
	for _, d := range list {
		if d.Cure == cure {
			return true
		}
	}
	return false
}
