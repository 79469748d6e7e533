package schema

import "fmt"

// Live describes a database as far as it matters to walpost. Whoever has a connection fills it with the queries of this package; Diff
// compares it with what is wanted.
type Live struct {
	Database    string // its name
	Version     int    // what walpost.schema_version() says; 0: there is no such function
	Tables      map[Table]LiveTable
	Functions   []LiveFunction   // those of schema walpost
	Publication *LivePublication // nil: there is none of that name
	Roles       map[string]LiveRole
	Grants      map[Grant]bool // those of Grants(o) that are held, also through another role
}

// LiveTable describes a table of schema walpost, or the outbox wherever it is.
type LiveTable struct {
	OID        uint32
	Kind       string // pg_class.relkind: r a table, p a partitioned one, anything else is none
	Unlogged   bool   // also a temporary one: not in the WAL
	Columns    []LiveColumn
	Unique     [][]string // the columns of every unique index, primary key included, that has no condition
	Indexes    []string   // names of all its indexes
	Checks     []string   // names of its CHECK constraints
	Unstreamed []UnstreamedTable
}

// UnstreamedTable is a child or a partition of a table, whose rows a stream of that table does not have.
type UnstreamedTable struct {
	Table  Table
	Reason UnstreamedReason
}

// UnstreamedReason is why a stream does not have a table's rows.
type UnstreamedReason uint8

// Why the rows of an [UnstreamedTable] are not in a stream.
const (
	Inherits UnstreamedReason = iota // a child by inheritance: the stream shows its rows, if at all, as those of another table
	Unlogged                         // a partition that is not in the WAL
	Foreign                          // a partition on another server
)

// Cure returns the SQL that takes the table away from parent, or brings it into the WAL.
func (o UnstreamedTable) Cure(parent Table) string {
	switch o.Reason {
	case Inherits:
		return fmt.Sprintf("ALTER TABLE %s NO INHERIT %s", o.Table, parent)
	case Unlogged:
		return fmt.Sprintf("ALTER TABLE %s SET LOGGED", o.Table)
	}
	return fmt.Sprintf("ALTER TABLE %s DETACH PARTITION %s", parent, o.Table)
}

// String says what the table is.
func (r UnstreamedReason) String() string {
	return [...]string{"an inheritance child", "unlogged", "a foreign table"}[r]
}

// LiveColumn describes a column of such a table.
type LiveColumn struct {
	TableColumn
	NotNull bool
	Default string // the expression as Postgres prints it, or "identity"; "": none

	Collation string // its name; "": the database's own, or a type that has none
}

// LiveFunction describes a function.
type LiveFunction struct {
	Name, Arguments, Result string // Arguments: the types only, as "text, text"
	Body                    string
	Definer                 bool // security definer: it runs with its owner's rights
}

// LivePublication describes a publication and what it holds of the outbox.
type LivePublication struct {
	Insert, Update, Delete, Truncate bool
	ViaRoot                          bool     // publish_via_partition_root
	Member                           bool     // the outbox is in it, by name or with all tables or its whole schema
	Columns                          []string // the columns that it publishes; nil: all, or a server before 15, which has no lists
	Filter                           string   // its row filter, as SQL; "": none
}

// LiveRole describes a role; one that does not exist is the zero value.
type LiveRole struct {
	Exists, Login, Replication, Connect bool
	RDS                                 bool // its server has the role rds_replication, as RDS and Aurora have; a grant of it stands for the attribute
}

// TableColumns returns the columns as a plan takes them.
func (t LiveTable) TableColumns() []TableColumn {
	cols := make([]TableColumn, len(t.Columns))
	for i, c := range t.Columns {
		cols[i] = c.TableColumn
	}
	return cols
}

func (t LiveTable) column(name string) (LiveColumn, bool) {
	for _, c := range t.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return LiveColumn{}, false
}

func (l Live) function(name, arguments string) (LiveFunction, bool) {
	for _, f := range l.Functions {
		if f.Name == name && f.Arguments == arguments {
			return f, true
		}
	}
	return LiveFunction{}, false
}
