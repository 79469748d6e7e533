package schema

import "fmt"

// Live describes the objects of a database that matter to walpost. A caller with a connection fills it with the queries of this package.
// Diff compares it with the objects that walpost needs.
type Live struct {
	Database    string // its name
	Version     int    // the result of walpost.schema_version(); 0: the function does not exist
	Tables      map[Table]LiveTable
	Functions   []LiveFunction   // the functions of schema walpost
	Publication *LivePublication // nil: it does not exist
	Roles       map[string]LiveRole
	Grants      map[Grant]bool // which grants of Grants(o) the roles have, also through another role
}

// LiveTable describes a table of schema walpost, or the outbox wherever it is.
type LiveTable struct {
	OID        uint32
	Kind       string // pg_class.relkind: r a table, p a partitioned table, anything else is not a table
	Unlogged   bool   // or temporary: its rows are not in the WAL
	Columns    []LiveColumn
	Unique     [][]string // the columns of every unique index without a condition, primary key included
	Indexes    []string   // names of all its indexes
	Checks     []string   // names of its CHECK constraints
	Unstreamed []UnstreamedTable
}

// UnstreamedTable is a child or a partition of a table whose rows are not in a stream of that table.
type UnstreamedTable struct {
	Table  Table
	Reason UnstreamedReason
}

// UnstreamedReason is the reason why a table's rows are not in a stream.
type UnstreamedReason uint8

// The reasons why the rows of an [UnstreamedTable] are not in a stream.
const (
	Inherits UnstreamedReason = iota // an inheritance child: its rows are in the stream, if at all, as rows of another table
	Unlogged                         // a partition that is not in the WAL
	Foreign                          // a partition on another server
)

// Cure returns the SQL that separates the table from parent, or makes it logged.
func (o UnstreamedTable) Cure(parent Table) string {
	switch o.Reason {
	case Inherits:
		return fmt.Sprintf("ALTER TABLE %s NO INHERIT %s", o.Table, parent)
	case Unlogged:
		return fmt.Sprintf("ALTER TABLE %s SET LOGGED", o.Table)
	}
	return fmt.Sprintf("ALTER TABLE %s DETACH PARTITION %s", parent, o.Table)
}

// String returns what the table is, for an error.
func (r UnstreamedReason) String() string {
	return [...]string{"an inheritance child", "unlogged", "a foreign table"}[r]
}

// LiveColumn describes a column of such a table.
type LiveColumn struct {
	TableColumn
	NotNull bool
	Default string // the expression as Postgres prints it, or "identity"; "": no default

	Collation string // its name; "": the database's default, or the type has no collation
}

// LiveFunction describes a function.
type LiveFunction struct {
	Name, Arguments, Result string // Arguments: only the types, such as "text, text"
	Body                    string
	Definer                 bool // security definer: it runs with its owner's rights
}

// LivePublication describes a publication and what it publishes of the outbox.
type LivePublication struct {
	Insert, Update, Delete, Truncate bool
	ViaRoot                          bool     // publish_via_partition_root
	Member                           bool     // the outbox is in it: by name, with its whole schema, or with all tables
	Columns                          []string // the columns that it publishes; nil: all, or a server before 15, which has no column lists
	Filter                           string   // its row filter, as SQL; "": none
}

// LiveRole describes a role. It is the zero value if the role does not exist.
type LiveRole struct {
	Exists, Login, Replication, Connect bool
	RDS                                 bool // the server has the role rds_replication, as on RDS and Aurora; a grant of it replaces the attribute REPLICATION
}

// TableColumns returns the columns in the form that [Mapping.Plan] takes.
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
