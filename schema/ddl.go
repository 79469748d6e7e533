package schema

import (
	"embed"
	"fmt"
	"strconv"
	"strings"
)

// Version is the version of schema walpost that this package makes and that this walpost works with.
const Version = 2

// Options say what the DDL is to be made for. The zero value stands for walpost.outbox under its own names and no grants.
type Options struct {
	Table       Table    // the outbox; zero: DefaultTable
	Mapping     Mapping  // its columns; zero: DefaultMapping()
	Publication string   // "": walpost
	Topic       Template // outbox.topic; zero: outbox.event.{aggregatetype}

	// Columns are those of the outbox if it is there already and somebody looked; publish() then converts what it is given to their
	// types. nil: it has the types that it would be created with.
	Columns []TableColumn

	AppRole, RelayRole string // who gets the grants of a service and of the relay; "": nobody
	Database           string // its name, for the relay's right to connect; "": that one is left out

	// OnlyInbox is for the database of a consumer, which has no outbox and no relay. It leaves everything out but the inbox, its functions,
	// and the rights of AppRole to claim events. walpost.schema_version() belongs to a relay's database, so it is left out, too.
	OnlyInbox bool
}

// Statement is one SQL command of the DDL.
type Statement struct {
	// Object is what the command makes or changes, for an error that names it.
	Object string

	// SQL is the command, without a semicolon at its end or anywhere else, with the comments that explain it.
	SQL string

	// Unless is a query that returns true when there is nothing to do, "" for a command that always runs. All commands are idempotent;
	// some still take a right that the role need not have when there is nothing to do.
	Unless string
}

//go:embed sql/*.sql
var files embed.FS

// Script returns the DDL as text for people and migration tools: psql, goose, Flyway, Liquibase, or an ORM that splits at semicolons.
// Running it again changes nothing.
func Script(o Options) string {
	var b strings.Builder
	if o.OnlyInbox {
		fmt.Fprintf(&b, "-- walpost: inbox for the database of a consumer, version %d. Made by: walpost schema print --only inbox\n", Version)
	} else {
		fmt.Fprintf(&b, "-- walpost: database schema, version %d. Made by: walpost schema print\n", Version)
	}
	b.WriteString("-- Every statement may run again. No semicolon stands anywhere but at the end of a statement.\n")
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

// WithDefaults returns o with what is left out filled in.
func (o Options) WithDefaults() Options {
	if o.Table == (Table{}) {
		o.Table = DefaultTable
	}
	if o.Mapping == (Mapping{}) {
		o.Mapping = DefaultMapping()
	}
	if o.Publication == "" {
		o.Publication = "walpost"
	}
	if o.Topic.parts == nil {
		o.Topic = Template{parts: []templatePart{{literal: "outbox.event."}, {column: AggregateType}}}
	}
	return o
}

// tokens are what stands in braces in a file, and what takes its place.
type tokens map[string]string

// file returns the commands of an embedded file. It is split before the names are put in: a quoted name may hold a semicolon.
func (o Options) file(name, object, unless string, t tokens) []Statement {
	text, err := files.ReadFile("sql/" + name)
	if err != nil {
		panic(err) // a file that this package embeds
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

// PublicationSQL returns the one command that makes the publication where there is none, for a relay that may.
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
