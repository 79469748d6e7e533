-- The inbox of the consumers that have this database: which of them has applied which event. Rows may be deleted by received_at once
-- the topic has forgotten the event.
create table if not exists walpost.inbox (
  consumer    text not null,
  event_id    text not null,
  received_at timestamptz not null default clock_timestamp(),
  primary key (consumer, event_id)
);

-- For that deletion. Rows arrive in the order of time, so the smallest kind of index will do.
create index if not exists inbox_received_at on walpost.inbox using brin (received_at);

-- claim() is true for the first transaction that commits it, and false for every later one: apply the event if it is true, in the same
-- transaction. While another transaction has claimed the event and is still open, it waits for the end of that one. Under repeatable
-- read or serializable the one that waited may be told to try again (40001).
create or replace function walpost.claim(consumer text, event_id text)
returns boolean language sql volatile as $$
  with claimed as (
    insert into walpost.inbox (consumer, event_id) values ($1, $2) on conflict do nothing returning 1
  )
  select exists (select from claimed)
$$;

revoke execute on function walpost.claim(text, text) from public;
