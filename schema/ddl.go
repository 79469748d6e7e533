package schema

import (
	"embed"
	"fmt"
	"strconv"
	"strings"
)

// Version is the version of schema walpost that this package creates and that this walpost needs.
const Version = 2

// Options say what the DDL is for. The zero value means walpost.outbox with its default column names, and no grants.
type Options struct {
	Table       Table    // the outbox; zero: DefaultTable
	Mapping     Mapping  // its columns; zero: DefaultMapping()
	Publication string   // "": walpost
	Topic       Template // outbox.topic; zero: outbox.event.{aggregatetype}

	// Columns are the columns of an existing outbox, if they are known. publish() then converts its arguments to their types. nil: the
	// outbox has the types with which walpost would create it.
	Columns []TableColumn

	AppRole, RelayRole string // the roles that get the grants of a service and of the relay; "": none
	Database           string // the database's name, for the relay's right to connect; "": no such grant

	// OnlyInbox is for the database of a consumer, which has no outbox and no relay. With it, the DDL has only the inbox, its functions,
	// and the rights of AppRole to claim events. It does not have walpost.schema_version(), which belongs to a relay's database.
	OnlyInbox bool
}

// Statement is one SQL command of the DDL.
type Statement struct {
	// Object is the object that the command creates or changes, for errors.
	Object string

	// SQL is the command with the comments that explain it. It contains no semicolon, not even at its end.
	SQL string

	// Unless is a query that returns true if there is nothing to do; "" for a command that always runs. All commands are idempotent, but
	// some need a right even if there is nothing to do, and the role may not have that right.
	Unless string
}

//go:embed sql/*.sql
var files embed.FS

// Script returns the DDL as a script for people and migration tools: psql, goose, Flyway, Liquibase, or an ORM that splits at semicolons.
// Running it again changes nothing.
func Script(o Options) string {
	var b strings.Builder
	if o.OnlyInbox {
		fmt.Fprintf(&b, "-- walpost: inbox for the database of a consumer, version %d. Made by: walpost schema print --only inbox\n", Version)
	} else {
		fmt.Fprintf(&b, "-- walpost: database schema, version %d. Made by: walpost schema print\n", Version)
	}
	b.WriteString("-- You can run every statement again. There are semicolons only at the ends of statements.\n")
	for _, s := range Statements(o) {
		b.WriteString("\n" + s.SQL + ";\n")
	}
	return b.String()
}

// Statements returns the same commands one by one, in order, for one transaction.
func Statements(o Options) []Statement {
	o = o.WithDefaults()
	list := o.file("schema.sql", "schema walpost", `select exists (select from pg_catalog.pg_namespace where nspname = 'walpost')`, nil)
	if o.OnlyInbox {
		list = append(list, o.file("inbox.sql", "table walpost.inbox", "", inboxTokens())...)
		return append(list, o.grants()...)
	}
	list = append(list, o.file("outbox.sql", "table "+o.Table.String(), exists(o.Table), o.outboxTokens())...)
	if o.hasPublish() {
		list = append(list, o.file("publish.sql", "function walpost.publish", "", o.publishTokens())...)
	} else {
		list = append(list, o.file("no_publish.sql", "function walpost.publish", "", nil)...)
	}
	list = append(list, o.file("inbox.sql", "table walpost.inbox", "", inboxTokens())...)
	list = append(list, o.file("dead_letters.sql", "table walpost.dead_letters", "", nil)...)
	list = append(list, o.file("relay_state.sql", "table walpost.relay_state", "", nil)...)
	list = append(list, o.file("version.sql", "function walpost.schema_version", "", tokens{"version": strconv.Itoa(Version)})...)
	list = append(list, o.file("publication.sql", "publication "+o.Publication, "", o.publicationTokens())...)
	return append(list, o.grants()...)
}

// WithDefaults returns o with defaults for the fields that are not set.
func (o Options) WithDefaults() Options {
	if o.Table == (Table{}) {
		o.Table = DefaultTable
	}
	if o.Mapping == (Mapping{}) {
		o.Mapping = DefaultMapping()
	}
	if o.OnlyInbox {
		o.RelayRole = "" // no relay works there
	}
	if o.Publication == "" {
		o.Publication = "walpost"
	}
	if o.Topic.parts == nil {
		o.Topic = Template{parts: []templatePart{{literal: "outbox.event."}, {column: AggregateType}}}
	}
	return o
}

// tokens are the names in braces in a file, with the texts that replace them.
type tokens map[string]string

// file returns the commands of an embedded file. It splits the file before it inserts names, because a quoted name may contain a semicolon.
func (o Options) file(name, object, unless string, t tokens) []Statement {
	text, err := files.ReadFile("sql/" + name)
	if err != nil {
		panic(err) // a bug: the file must be embedded in this package
	}
	pairs := []string{"{outbox}", o.Table.String()}
	for key, value := range t {
		pairs = append(pairs, "{"+key+"}", value)
	}
	replacer := strings.NewReplacer(pairs...)
	var list []Statement
	for command := range strings.SplitSeq(string(text), ";\n") {
		if command = strings.TrimSpace(command); command != "" {
			list = append(list, Statement{Object: object, SQL: replacer.Replace(command), Unless: unless})
		}
	}
	return list
}

func exists(t Table) string {
	return "select pg_catalog.to_regclass(" + QuoteLiteral(t.String()) + ") is not null"
}

// PublicationSQL returns the command that creates the publication, for a relay that may do that.
func PublicationSQL(o Options) string {
	o = o.WithDefaults()
	return fmt.Sprintf("create publication %s for table %s with (publish = 'insert', publish_via_partition_root = true)",
		QuoteIdent(o.Publication), o.Table)
}

func (o Options) publicationTokens() tokens {
	return tokens{
		"create":      PublicationSQL(o),
		"publication": QuoteIdent(o.Publication),
		"name":        QuoteLiteral(o.Publication),
		"schema_name": QuoteLiteral(o.Table.Schema),
		"table_name":  QuoteLiteral(o.Table.Name),
		"outbox_name": QuoteLiteral(o.Table.String()),
	}
}
