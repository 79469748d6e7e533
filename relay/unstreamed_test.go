package relay

import (
	"fmt"
	"strings"
	"testing"

	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/schema"
)

// outsideStream is a table whose rows belong to the outbox but do not come with the outbox's rows: how it is created, and what walpost
// reports.
type outsideStream struct {
	name    string
	prepare []string // SQL before the first start of walpost
	add     []string
	insert  string // inserts one row into it
	remedy  bool   // the cure is SQL that brings the row back
	want    []string
}

const (
	rowToInsert = ` (aggregatetype, aggregateid, type, payload) values ('order', '1', 'paid', '"lost"')`
	good        = "create table public.good partition of public.box for values in ('placed')"
)

var outsideStreams = []outsideStream{
	{
		name:    "inheritance child",
		prepare: []string{"create table public.box (note text, like walpost.outbox including defaults)"},
		add:     []string{"create table public.child (more int) inherits (public.box)", `create table public."Other" () inherits (public.child)`},
		insert:  "insert into public.child" + rowToInsert,
		remedy:  true,
		want: []string{"table public.box has the inheritance child public.child", "do not reach walpost", "ALTER TABLE public.child NO INHERIT public.box",
			"INSERT INTO public.box (note, id, aggregatetype, aggregateid, type, payload, headers, created_at)"},
	},
	{
		name: "unlogged partition",
		prepare: []string{"create table public.box (like walpost.outbox including defaults) partition by list (type)",
			good},
		add: []string{"create table public.half partition of public.box default partition by list (aggregatetype)",
			"create unlogged table public.leaf as select payload, headers, aggregateid, type, id, aggregatetype, created_at from walpost.outbox",
			"alter table public.leaf alter id set not null, alter type set not null, alter aggregatetype set not null, alter created_at set not null",
			"alter table public.half attach partition public.leaf default"},
		insert: "insert into public.box" + rowToInsert,
		remedy: true,
		want:   []string{"partition public.leaf of table public.box is unlogged", "not in the WAL", "ALTER TABLE public.leaf SET LOGGED"},
	},
	{
		name:    "foreign partition",
		prepare: []string{"create table public.box (like walpost.outbox including defaults) partition by list (type)", good},
		add: []string{"create foreign data wrapper nothing", "create server nowhere foreign data wrapper nothing",
			"create foreign table public.far partition of public.box default server nowhere"},
		want: []string{"partition public.far of table public.box is a foreign table", "not in the WAL", "ALTER TABLE public.box DETACH PARTITION public.far"},
	},
}

func (o *outsideStream) fixture(t *testing.T, major int) *fixture {
	f := fixtureOn(t, pgtest.NewMajor(t, major).DSN)
	for _, sql := range o.prepare {
		f.Exec(sql)
	}
	f.Exec("create publication box for table public.box with (publish = 'insert', publish_via_partition_root = true)")
	f.cfg.Table, f.cfg.Publication = schema.Table{Schema: "public", Name: "box"}, "box"
	return f
}

func (o *outsideStream) addTo(f *fixture) {
	for _, sql := range o.add {
		f.Exec(sql)
	}
}

// TestRowsOutsideTheStream: a table whose rows belong to the outbox, but come under another name or not at all, stops the relay: before it
// creates anything, and when the table appears while the relay streams. The cure in the error brings the rows.
func TestRowsOutsideTheStream(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		for _, o := range outsideStreams {
			t.Run(fmt.Sprintf("%s, Postgres %d, at the start", o.name, major), func(t *testing.T) {
				t.Parallel()
				f := o.fixture(t, major)
				o.addTo(f)
				dbtest.WantFailed(t, f.diagnose(), o.want...)
				dbtest.WantPermanent(t, f.launch().wait(), o.want...)
				if f.sink.opened > 0 || f.Slots() > 0 {
					t.Errorf("a sink was opened %d times, and there are %d slots", f.sink.opened, f.Slots())
				}
			})
			t.Run(fmt.Sprintf("%s, Postgres %d, later", o.name, major), func(t *testing.T) {
				t.Parallel()
				f := o.fixture(t, major)
				r := f.start()
				f.put("public.box", "payload", "before")
				dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
				o.addTo(f)
				if o.insert != "" {
					f.Exec(o.insert)
				}
				r.look()
				err := r.wait()
				dbtest.WantPermanent(t, err, o.want...)
				if n := f.sink.count(); n != 1 {
					t.Errorf("%d events were published", n)
				}
				dbtest.WantPermanent(t, f.launch().wait(), o.want...) // and it stays so
				if !o.remedy {
					return
				}
				_, cure, _ := strings.Cut(err.Error(), "run: ")
				run, again, ok := strings.Cut(cure, "for example: ")
				if !ok {
					t.Fatalf("%v does not say how to insert the rows again", err)
				}
				f.Exec(strings.SplitN(run, ";", 2)[0])
				r = f.start()
				f.Exec(again)
				dbtest.Until(t, "the row of the other table", func() bool { return f.sink.count() == 2 })
				r.stop()
			})
		}
	}
}
