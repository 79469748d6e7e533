-- The publication through which the WAL is read. Inserts only: updates and deletes of outbox rows then cost nothing. Partitions, if
-- there are any or will be, appear under the name of their root. A publication that is there is not altered, except that the outbox is
-- added, for another tool may have set it up. SQL has no conditional form of either command, so a function that lives for a moment
-- makes them one.
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
