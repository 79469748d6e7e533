-- walpost checks this version before it uses the schema. It is the last object of the schema, so an incomplete schema has no version.
create or replace function walpost.schema_version()
returns integer language sql stable as $$
  select {version}
$$;
