package schema

import "strings"

// Grant is one right that a role needs.
type Grant struct {
	Role      string
	Kind      string // schema, table or function
	Object    string // its name in SQL
	Privilege string // USAGE, INSERT, ...
}

const (
	publishSignature = "walpost.publish(text, text, text, jsonb, jsonb)"
	claimSignature   = "walpost.claim(text, text)"
	sourceSignature  = "walpost.claim(text, text, text)" // with the event's source
	versionSignature = "walpost.schema_version()"
)

// Grants lists the rights that the DDL gives to the two roles of o, if they are named. It lists every function that a role calls, because
// PUBLIC may not have the right to execute new functions.
func Grants(o Options) []Grant {
	o = o.WithDefaults()
	var list []Grant
	add := func(role, kind, object string, privileges ...string) {
		for _, p := range privileges {
			list = append(list, Grant{role, kind, object, p})
		}
	}
	if o.AppRole != "" {
		for _, name := range o.schemas() {
			add(o.AppRole, "schema", QuoteIdent(name), "USAGE")
		}
		if !o.OnlyInbox {
			add(o.AppRole, "table", o.Table.String(), "INSERT")
		}
		for _, signature := range o.functions() {
			add(o.AppRole, "function", signature, "EXECUTE")
		}
		add(o.AppRole, "table", "walpost.inbox", "INSERT")
	}
	if o.RelayRole != "" {
		for _, name := range o.schemas() {
			add(o.RelayRole, "schema", QuoteIdent(name), "USAGE")
		}
		add(o.RelayRole, "function", versionSignature, "EXECUTE")
		add(o.RelayRole, "table", o.Table.String(), "SELECT")
		add(o.RelayRole, "table", "walpost.relay_state", "SELECT", "INSERT", "UPDATE", "DELETE")
		add(o.RelayRole, "table", "walpost.dead_letters", "SELECT", "INSERT", "UPDATE", "DELETE")
	}
	return list
}

// grants returns the commands that grant these rights.
func (o Options) grants() []Statement {
	var list []Statement
	if o.AppRole != "" {
		list = append(list, o.file("consumer.sql", "grants to "+o.AppRole, "", o.roleTokens(o.AppRole))...)
		if !o.OnlyInbox {
			list = append(list, o.file("app.sql", "grants to "+o.AppRole, "", o.roleTokens(o.AppRole))...)
		}
	}
	if o.RelayRole != "" {
		t := o.roleTokens(o.RelayRole)
		list = append(list, o.file("relay.sql", "grants to "+o.RelayRole, "", t)...)
		list = append(list, o.file("relay_replication.sql", "role "+o.RelayRole, "", t)...)
		if o.Database != "" {
			list = append(list, o.file("relay_connect.sql", "grants to "+o.RelayRole, mayConnect(o.RelayRole), t)...)
		}
	}
	return list
}

func (o Options) roleTokens(role string) tokens {
	return tokens{
		"role":       QuoteIdent(role),
		"schemas":    strings.Join(quoteAll(o.schemas()), ", "),
		"functions":  strings.Join(o.functions(), ", "),
		"version":    versionSignature,
		"may_stream": mayReplicate(role),
		"database":   QuoteIdent(o.Database),
	}
}

// schemas returns the schemas on which a role needs USAGE.
func (o Options) schemas() []string {
	if o.OnlyInbox || o.Table.Schema == "walpost" {
		return []string{"walpost"}
	}
	return []string{"walpost", o.Table.Schema}
}

// functions returns the functions that a service calls.
func (o Options) functions() []string {
	if !o.OnlyInbox && o.hasPublish() {
		return []string{publishSignature, claimSignature, sourceSignature}
	}
	return []string{claimSignature, sourceSignature}
}

func quoteAll(names []string) []string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = QuoteIdent(name)
	}
	return quoted
}

// mayReplicate returns a query that tells whether the role may stream the WAL. RDS and Aurora use a role for that, and not the attribute.
func mayReplicate(role string) string {
	return `select exists (select from pg_catalog.pg_roles r where r.rolname = ` + QuoteLiteral(role) + ` and (r.rolreplication or r.rolsuper or exists (
  select from pg_catalog.pg_auth_members m join pg_catalog.pg_roles g on g.oid = m.roleid where m.member = r.oid and g.rolname = 'rds_replication')))`
}

func mayConnect(role string) string {
	return `select coalesce((select pg_catalog.has_database_privilege(oid, pg_catalog.current_database(), 'CONNECT')
  from pg_catalog.pg_roles where rolname = ` + QuoteLiteral(role) + `), false)`
}
