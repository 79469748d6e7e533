package schema

import "slices"

// wantedTable is a table of schema walpost as the DDL creates it. A test compares a new schema with this, so that the two stay the same.
type wantedTable struct {
	name    string
	columns []wantedColumn
	unique  [][]string
	indexes []string // only the indexes that exist for speed
}

// textC is text that is compared byte by byte, with any collation of the database.
const textC = `text collate "C"`

// wantedColumn has the type and default of a column as Postgres prints them.
type wantedColumn struct {
	name, typ string
	notNull   bool
	fallback  string
}

var wantedTables = []wantedTable{
	{
		name: "inbox",
		columns: []wantedColumn{
			{"consumer", textC, true, ""},
			{"source", textC, true, "''::text"},
			{"event_id", textC, true, ""},
			{"received_at", "timestamp with time zone", true, "clock_timestamp()"},
		},
		unique:  [][]string{{"consumer", "source", "event_id"}},
		indexes: []string{"inbox_age"},
	},
	{
		name: "dead_letters",
		columns: []wantedColumn{
			{"id", "bigint", true, "identity"},
			{"slot", "text", true, ""},
			{"position", textC, true, ""},
			{"event_id", "text", false, ""},
			{"topic", "text", false, ""},
			{"partition", "integer", false, ""},
			{"key", "bytea", false, ""},
			{"type", "text", false, ""},
			{"value", "bytea", false, ""},
			{"header_names", "bytea[]", true, "'{}'::bytea[]"},
			{"header_values", "bytea[]", true, "'{}'::bytea[]"},
			{"record_timestamp", "timestamp with time zone", false, ""},
			{"reason", "text", true, ""},
			{"detail", "text", false, ""},
			{"state", "text", true, "'head'::text"},
			{"attempts", "integer", true, "0"},
			{"note", "text", false, ""},
			{"actor", "text", false, ""},
			{"parked_at", "timestamp with time zone", true, "clock_timestamp()"},
			{"updated_at", "timestamp with time zone", true, "clock_timestamp()"},
		},
		unique: [][]string{{"id"}, {"slot", "position"}},
		indexes: []string{"dead_letters_person", "dead_letters_person_key", "dead_letters_retrying", "dead_letters_blocked", "dead_letters_drained", "dead_letters_filled",
			"dead_letters_age"},
	},
	{
		name: "relay_state",
		columns: []wantedColumn{
			{"slot", "text", true, ""},
			{"phase", "text", true, ""},
			{"system_id", "text", false, ""},
			{"timeline", "bigint", false, ""},
			{"database", "text", false, ""},
			{"table_oid", "oid", false, ""},
			{"snapshot_lsn", "pg_lsn", false, ""},
			{"confirmed_lsn", "pg_lsn", false, ""},
			{"confirmed_commit_time", "timestamp with time zone", false, ""},
			{"clean_stop", "boolean", true, "false"},
			{"generation", "jsonb", false, ""},
			{"producer_id", "bigint", false, ""},
			{"producer_epoch", "integer", false, ""},
			{"producer_ids", "bigint[]", true, "'{}'::bigint[]"},
			{"holder", "text", false, ""},
			{"created_at", "timestamp with time zone", true, "clock_timestamp()"},
			{"updated_at", "timestamp with time zone", true, "clock_timestamp()"},
		},
		unique: [][]string{{"slot"}},
	},
}

// wantedFunction is a function of schema walpost. parameters has the arguments as the DDL declares them, because two functions may have the
// same name.
type wantedFunction struct{ name, arguments, result, parameters string }

var wantedFunctions = []wantedFunction{
	{"publish", "text, text, text, jsonb, jsonb", "uuid", "aggregatetype text, aggregateid text, type text, payload jsonb, headers jsonb default null"},
	{"claim", "text, text", "boolean", "consumer text, event_id text"},
	{"claim", "text, text, text", "boolean", "consumer text, event_id text, source text"},
	{"purge_inbox", "interval", "bigint", "older interval"},
	{"schema_version", "", "integer", ""},
}

// tables returns those of walpost's own tables that o asks for.
func (o Options) tables() []wantedTable {
	if !o.OnlyInbox {
		return wantedTables
	}
	at := slices.IndexFunc(wantedTables, func(w wantedTable) bool { return w.name == "inbox" })
	return wantedTables[at : at+1]
}

// ofInbox reports whether the function also belongs to a consumer's database.
func (w wantedFunction) ofInbox() bool { return w.name == "claim" || w.name == "purge_inbox" }

// Tables lists the tables that the DDL creates: the outbox and walpost's own tables.
func Tables(o Options) []Table {
	var list []Table
	if !o.OnlyInbox {
		list = append(list, o.WithDefaults().Table)
	}
	for _, t := range o.tables() {
		list = append(list, Table{Schema: "walpost", Name: t.name})
	}
	return list
}
