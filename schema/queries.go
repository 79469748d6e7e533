package schema

// The queries that fill a Live. They read only the catalog, need no right except that to connect, and run on Postgres 14 to 18. Columns
// that some versions do not have are read from the row as JSON, where an absent column is NULL.

// QueryTable takes a table's name as Table.String returns it. It returns oid, relkind and whether the rows are not in the WAL. It returns
// no row if the table does not exist.
const QueryTable = `
select c.oid, c.relkind::text, c.relpersistence <> 'p'
from pg_catalog.pg_class c
where c.oid = pg_catalog.to_regclass($1)`

// QueryUnstreamed takes a table's oid and returns its children and partitions whose rows are not in a stream of the table. These are
// inheritance children, and partitions of any depth that are not in the WAL. It returns schema, name, relkind, and whether it is a
// partition. It does not return a child's own children, because the cure for the child covers them.
const QueryUnstreamed = `
with recursive part as (
  select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = $1
  union
  select i.inhrelid from part p join pg_catalog.pg_class c on c.oid = p.inhrelid join pg_catalog.pg_inherits i on i.inhparent = c.oid
  where c.relkind = 'p'
)
select n.nspname::text, c.relname::text, c.relkind::text, c.relispartition
from part p join pg_catalog.pg_class c on c.oid = p.inhrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where not c.relispartition or c.relkind <> 'p' and (c.relkind <> 'r' or c.relpersistence <> 'p')
order by 1, 2`

// QueryColumns takes a table's oid and returns for each column, in the table's order: name, oid of the base type, type, not null, default,
// and the collation unless it is the database's.
//
// Some types must not be in an outbox but would look like an enum by their name: arrays, composite types, and types of extensions that are
// not text. They get the oid of "any" (2276). A generated column gets the oid 0, because it is not in the stream.
const QueryColumns = `
select a.attname::text,
  case
    when a.attgenerated <> '' then 0
    when base.oid < 16384 or base.typtype = 'e' or base.typcategory = 'S' then base.oid
    else 2276
  end::oid,
  pg_catalog.format_type(a.atttypid, a.atttypmod)
    || case when base.oid <> a.atttypid and base.oid < 16384 then ' over ' || pg_catalog.format_type(base.oid, null) else '' end
    || case when a.attgenerated <> '' then ' and generated, which the stream does not carry' else '' end,
  a.attnotnull,
  case when a.attidentity <> '' then 'identity' else coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') end,
  coalesce((select l.collname::text from pg_catalog.pg_collation l where l.oid = a.attcollation and l.collname <> 'default'), '')
from pg_catalog.pg_attribute a
left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
cross join lateral (
  with recursive chain as (
    select t.oid, t.typtype, t.typbasetype, t.typcategory from pg_catalog.pg_type t where t.oid = a.atttypid
    union all
    select t.oid, t.typtype, t.typbasetype, t.typcategory
    from pg_catalog.pg_type t join chain on chain.typtype = 'd' and t.oid = chain.typbasetype
  )
  select oid, typtype, typcategory from chain where typtype <> 'd'
) base
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
order by a.attnum`

// QueryIndexes takes a table's oid and returns for each valid index its name, and its columns if it is unique for all rows, else NULL.
const QueryIndexes = `
select c.relname::text,
  case when i.indisunique and i.indpred is null and i.indexprs is null then array(
    select a.attname::text
    from pg_catalog.unnest(i.indkey) with ordinality k(attnum, n)
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
    where k.n <= i.indnkeyatts
    order by k.n
  ) end
from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
where i.indrelid = $1 and i.indisvalid
order by c.relname`

// QueryChecks takes a table's oid and returns the names of its CHECK constraints.
const QueryChecks = `
select conname::text from pg_catalog.pg_constraint where conrelid = $1 and contype = 'c' order by 1`

// QueryOldInbox returns whether walpost.inbox exists in the form of version 1.
const QueryOldInbox = `
select pg_catalog.to_regclass('walpost.inbox') is not null and not (` + inboxHasSource + `)`

// QueryInboxRows returns whether walpost.inbox has rows. It fails if the table does not exist.
const QueryInboxRows = `select exists (select from walpost.inbox)`

const inboxHasSource = `exists (
  select from pg_catalog.pg_attribute where attrelid = pg_catalog.to_regclass('walpost.inbox') and attname = 'source' and not attisdropped
)`

// QueryFunctions returns for each function of schema walpost its name, argument types, result, body, and whether it runs with its owner's
// rights.
const QueryFunctions = `
select p.proname::text, pg_catalog.oidvectortypes(p.proargtypes), coalesce(pg_catalog.pg_get_function_result(p.oid), ''), p.prosrc, p.prosecdef
from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'walpost'
order by 1, 2`

// QueryVersion returns the schema's version. It fails if QueryFunctions has not returned schema_version.
const QueryVersion = `select walpost.schema_version()`

// QueryPublication takes the publication's name, the outbox's schema and name, and the outbox as Table.String returns it. It returns
// whether inserts, updates, deletes and truncates are published, whether partitions appear as their root, whether the outbox is a member,
// its published columns, and its row filter. It returns no row if the publication does not exist.
const QueryPublication = `
select p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
  t.row is not null or exists (
    select from pg_catalog.pg_publication_rel r where r.prpubid = p.oid and r.prrelid = pg_catalog.to_regclass($4)
  ),
  case when t.row -> 'attnames' is not null then array(select pg_catalog.jsonb_array_elements_text(t.row -> 'attnames')) end,
  coalesce(t.row ->> 'rowfilter', '')
from pg_catalog.pg_publication p
left join lateral (
  select pg_catalog.to_jsonb(pt) as row
  from pg_catalog.pg_publication_tables pt
  where pt.pubname = p.pubname and pt.schemaname = $2 and pt.tablename = $3
) t on true
where p.pubname = $1`

// QueryRoles takes an array of role names. It returns for each that exists: name, may log in, may stream the WAL, may connect to this
// database, and whether the server belongs to RDS or Aurora, where a grant gives the right to stream.
const QueryRoles = `
select r.rolname::text, r.rolcanlogin,
  r.rolreplication or r.rolsuper or exists (
    select from pg_catalog.pg_auth_members m join pg_catalog.pg_roles g on g.oid = m.roleid
    where m.member = r.oid and g.rolname = 'rds_replication'
  ),
  pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT'),
  exists (select from pg_catalog.pg_roles where rolname = 'rds_replication')
from pg_catalog.pg_roles r
where r.rolname::text = any ($1)`

// QueryGrants takes four arrays, the fields of Grants, and returns for each grant, in the same order, whether the role has it. It is false
// if the role or the object does not exist.
const QueryGrants = `
select coalesce(case g.kind
    when 'schema' then pg_catalog.has_schema_privilege(r.oid, pg_catalog.to_regnamespace(g.object)::oid, g.privilege)
    when 'table' then pg_catalog.has_table_privilege(r.oid, pg_catalog.to_regclass(g.object)::oid, g.privilege)
    when 'function' then pg_catalog.has_function_privilege(r.oid, pg_catalog.to_regprocedure(g.object)::oid, g.privilege)
  end, false)
from unnest($1::text[], $2::text[], $3::text[], $4::text[]) with ordinality g(role, kind, object, privilege, n)
left join pg_catalog.pg_roles r on r.rolname::text = g.role
order by g.n`
