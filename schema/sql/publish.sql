-- publish() inserts one event and returns its id. It works for a role that may insert and nothing else, so it returns the id that it
-- made and never one that it read: returning a column of the table would take the right to select.
create or replace function walpost.publish(aggregatetype text, aggregateid text, type text, payload jsonb, headers jsonb default null)
returns uuid language sql volatile as $$
  with event as materialized (select pg_catalog.gen_random_uuid() as id),
  inserted as (
    insert into {outbox} ({names})
    select {values} from event{condition}
  )
  select event.id from event
$$;

-- Who may call it is granted by name.
revoke execute on function walpost.publish(text, text, text, jsonb, jsonb) from public;
