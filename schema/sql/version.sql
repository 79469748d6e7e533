-- What walpost looks at before it works with this schema. Last of the schema, and only if the rest is there, so that a schema that was made by
-- half does not claim it, even if a tool goes on after an error.
create or replace function walpost.setup_version() returns void language sql volatile as $$
  create or replace function walpost.schema_version() returns integer language sql stable as 'select {version}'
$$;

select walpost.setup_version()
where pg_catalog.to_regprocedure('walpost.claim(text, text, text)') is not null
  and pg_catalog.to_regprocedure('walpost.purge_inbox(interval)') is not null
  and pg_catalog.to_regclass('walpost.inbox_age') is not null
  and pg_catalog.to_regclass('walpost.dead_letters_person') is not null
  and pg_catalog.to_regclass('walpost.dead_letters_person_key') is not null
  and pg_catalog.to_regclass('walpost.dead_letters_retrying') is not null
  and pg_catalog.to_regclass('walpost.dead_letters_blocked') is not null
  and pg_catalog.to_regclass('walpost.dead_letters_drained') is not null
  and pg_catalog.to_regclass('walpost.dead_letters_filled') is not null
  and pg_catalog.to_regclass('walpost.dead_letters_age') is not null
  and pg_catalog.to_regclass('walpost.relay_state') is not null;

drop function walpost.setup_version();
