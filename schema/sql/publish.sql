-- publish() inserts one event and returns its id. It works for a role that may only insert. So it returns the id that it has made and
-- does not read it from the table: RETURNING a column would need the right to select.
create or replace function walpost.publish(aggregatetype text, aggregateid text, type text, payload jsonb, headers jsonb default null)
returns uuid language sql volatile as $$
  with event as materialized (select pg_catalog.gen_random_uuid() as id),
  inserted as (
    insert into {outbox} ({names})
    select {values} from event{condition}
  )
  select event.id from event
$$;

-- Only roles with an explicit grant may call it.
revoke execute on function walpost.publish(text, text, text, jsonb, jsonb) from public;
