-- The publication selects the rows that walpost reads from the WAL. It has inserts only, so updates and deletes of outbox rows cost
-- nothing. Partitions, if there are any, appear under the name of their root. An existing publication only gets the outbox added, because
-- another tool may have set it up. SQL has no conditional form of these commands, so a temporary helper function runs them.
create or replace function walpost.setup_publication() returns void language sql volatile set lock_timeout = '3s' as $$
  {create}
$$;

select walpost.setup_publication() where not exists (select from pg_catalog.pg_publication where pubname = {name});

create or replace function walpost.setup_publication() returns void language sql volatile set lock_timeout = '3s' as $$
  alter publication {publication} add table {outbox}
$$;

select walpost.setup_publication() where not exists (
  select from pg_catalog.pg_publication_tables where pubname = {name} and schemaname = {schema_name} and tablename = {table_name}
) and not exists (
  select from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
  where p.pubname = {name} and r.prrelid = cast({outbox_name} as regclass)
);

drop function walpost.setup_publication();
