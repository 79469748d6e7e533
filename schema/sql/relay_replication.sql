-- The relay streams the WAL. Its role must also be able to log in. On RDS and Aurora the right to stream comes with the role
-- rds_replication, elsewhere it is the attribute REPLICATION. A role that may stream already is not altered. SQL has no conditional form of
-- these commands, so a temporary helper function runs them.
create or replace function walpost.setup_replication() returns void language sql volatile as $$
  alter role {role} replication
$$;

select walpost.setup_replication() where not ({may_stream}) and not exists (
  select from pg_catalog.pg_roles where rolname = 'rds_replication'
);

create or replace function walpost.setup_replication() returns void language sql volatile as $$
  grant rds_replication to {role}
$$;

select walpost.setup_replication() where not ({may_stream}) and exists (
  select from pg_catalog.pg_roles where rolname = 'rds_replication'
);

drop function walpost.setup_replication();
