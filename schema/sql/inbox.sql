-- The inbox records which consumer of this database has applied which event. source distinguishes publishers whose ids may be equal,
-- such as integers of two databases. Text is compared byte by byte, so that an update of the system libraries cannot break the key.
create table if not exists walpost.inbox (
  consumer    text collate "C" not null,
  source      text collate "C" not null default '',
  event_id    text collate "C" not null,
  received_at timestamptz not null default clock_timestamp(),
  primary key (consumer, source, event_id)
);

-- An inbox of version 1 has no column source. A migration does not alter it while it has rows, because its key has to be rebuilt under a
-- lock that every claim() waits for. In that case the migration fails here, and the error has the statement to run at a quiet time.
select cast({refusal} || left(i.event_id, 0) as boolean)
from walpost.inbox i
where not ({has_source})
limit 1;

-- An empty inbox is altered and not dropped, so that the rights granted on it stay. Here and below, a statement that waits for the lock of
-- a table gives up after 3 seconds, because everything else that uses the table waits behind it. The limit is set on a temporary helper
-- function, so it applies without a transaction, too, and does not stay in the session.
create or replace function walpost.setup_inbox() returns void language sql volatile as $$
$$;

-- It does nothing unless this gives it something to do. So an inbox with rows stays as it is, even if a tool goes on after the error above.
create or replace function walpost.setup_upgrade() returns void language sql volatile as $$
  create or replace function walpost.setup_inbox() returns void language sql volatile set lock_timeout = '3s' as {upgrade}
$$;

select walpost.setup_upgrade() where not ({has_source}) and not exists (select from walpost.inbox);

drop function walpost.setup_upgrade();

select walpost.setup_inbox();

-- Version 1 had an index that is useless after rows were deleted.
create or replace function walpost.setup_inbox() returns void language sql volatile set lock_timeout = '3s' as $$
  drop index if exists walpost.inbox_received_at
$$;

select walpost.setup_inbox() where pg_catalog.to_regclass('walpost.inbox_received_at') is not null;

-- For purge_inbox().
create or replace function walpost.setup_inbox() returns void language sql volatile set lock_timeout = '3s' as $$
  create index if not exists inbox_age on walpost.inbox (received_at)
$$;

select walpost.setup_inbox() where pg_catalog.to_regclass('walpost.inbox_age') is null;

drop function walpost.setup_inbox();

-- claim() is true for the first transaction that commits it, and false for every later one. If it is true, apply the event in the same
-- transaction. If that transaction rolls back, the event can be claimed again.
-- While another transaction has claimed the event and is still open, claim() waits for its end. It is then true if that one rolled back.
-- If that one committed, it is false under read committed. Under repeatable read and serializable it is an error (40001), because the
-- snapshot of the transaction does not have the other claim. Run the transaction again, and claim() is false.
-- Outside a transaction the claim is committed by itself, and a crash before the work is done loses the event for this consumer.
-- With synchronous_commit off, a crash of the server may undo the claim together with the work.
-- claim() is not a lease. It does not stop a consumer that was replaced from claiming other events.
-- With two arguments, claim() uses the empty source.
create or replace function walpost.claim(consumer text, event_id text)
returns boolean language sql volatile as $$
  with claimed as (
    insert into walpost.inbox (consumer, source, event_id) values ($1, '', $2) on conflict do nothing returning 1
  )
  select exists (select from claimed)
$$;

-- source is for a consumer that reads from several publishers. Use the header ce_source. It has no default, because then a call with two
-- arguments would be ambiguous.
create or replace function walpost.claim(consumer text, event_id text, source text)
returns boolean language sql volatile as $$
  with claimed as (
    insert into walpost.inbox (consumer, source, event_id) values ($1, $3, $2) on conflict do nothing returning 1
  )
  select exists (select from claimed)
$$;

-- purge_inbox() deletes the claims that are older than the interval and returns their number. An event whose claim is gone can be claimed
-- again, so keep claims for longer than the topic keeps its records and the outbox its rows. Less than 7 days is refused.
create or replace function walpost.purge_inbox(older interval)
returns bigint language sql volatile as $$
  with purged as (
    delete from walpost.inbox where received_at < pg_catalog.now() - $1 returning 1
  )
  select case when $1 >= interval '7 days' then (select pg_catalog.count(*) from purged)
    else cast(cast('purge_inbox() keeps at least 7 days' || coalesce(left(cast($1 as text), 0), '') as boolean) as integer) end
$$;

-- Only roles with an explicit grant may call these functions. purge_inbox() is for a role that maintains the database and may delete from
-- the inbox.
revoke execute on function walpost.claim(text, text), walpost.claim(text, text, text), walpost.purge_inbox(interval) from public;
