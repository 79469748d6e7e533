-- What walpost looks at before it works with this schema. Last of the schema, so that one that was made by half does not claim it.
create or replace function walpost.schema_version()
returns integer language sql stable as $$
  select {version}
$$;
