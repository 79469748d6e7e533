-- walpost: database schema, version 1. Made by: walpost schema print
-- Every statement may run again. No semicolon stands anywhere but at the end of a statement.

-- Everything that walpost keeps in this database. The outbox itself may be a table of yours, in a schema of yours.
create schema if not exists walpost;

-- The outbox: services insert a row in the transaction that it tells of, walpost reads it from the WAL and publishes it.
-- A table that is there already is left as it is.
create table if not exists walpost.outbox (
  id            uuid primary key default gen_random_uuid(),
  aggregatetype text not null,
  aggregateid   text,
  type          text not null,
  payload       jsonb,
  headers       jsonb,
  created_at    timestamptz not null default clock_timestamp()
);

-- publish() inserts one event and returns its id. It works for a role that may insert and nothing else, so it returns the id that it
-- made and never one that it read: returning a column of the table would take the right to select.
create or replace function walpost.publish(aggregatetype text, aggregateid text, type text, payload jsonb, headers jsonb default null)
returns uuid language sql volatile as $$
  with event as materialized (select pg_catalog.gen_random_uuid() as id),
  inserted as (
    insert into walpost.outbox (id, aggregatetype, aggregateid, type, payload, headers)
    select event.id, $1, $2, $3, $4, $5 from event
  )
  select event.id from event
$$;

-- Who may call it is granted by name.
revoke execute on function walpost.publish(text, text, text, jsonb, jsonb) from public;

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

-- Events that Kafka refused, and those that wait behind them: the record as it was to be sent, and why it was not.
-- slot and position identify an event, also when Postgres delivers it again.
-- position has the form of the header ce_sequence and sorts bytewise.
-- topic is null where no name could be made, partition where none was chosen.
-- header_names and header_values are parallel, a null value is a null header.
-- reason is a word of a fixed set, detail what the broker or walpost said.
-- state: head is refused, waiting stands behind a head of its topic and key, retrying was handed back to the relay, released was
-- published after all, discarded was given up. The last two stay until Postgres can no longer deliver the event again.
create table if not exists walpost.dead_letters (
  id               bigint generated always as identity primary key,
  slot             text not null,
  position         text collate "C" not null,
  event_id         text,
  topic            text,
  partition        integer,
  key              bytea,
  type             text,
  value            bytea,
  header_names     bytea[] not null default '{}',
  header_values    bytea[] not null default '{}',
  record_timestamp timestamptz,
  reason           text not null,
  detail           text,
  state            text not null default 'head' check (state in ('head', 'waiting', 'retrying', 'released', 'discarded')),
  attempts         integer not null default 0,
  note             text,
  parked_at        timestamptz not null default clock_timestamp(),
  updated_at       timestamptz not null default clock_timestamp(),
  unique (slot, position)
);

-- The events of a key, in order. The hash, because an index takes no value above some 2700 bytes and a key may be longer.
create index if not exists dead_letters_key on walpost.dead_letters (sha256(key), position);

-- What is still parked, in order.
create index if not exists dead_letters_parked on walpost.dead_letters (slot, position) where state in ('head', 'waiting', 'retrying');

-- What the relay of a slot has to know after a restart.
-- phase: backfilling until the rows that were there at the first start are published, then streaming.
-- system_id, timeline, database and table_oid: what the slot was created for.
-- snapshot_lsn: where the slot began and the backfill ended.
-- confirmed_lsn and confirmed_commit_time: the last confirmation, written every few seconds while there are any.
-- clean_stop: the relay left with everything confirmed, and the slot may not stand ahead of confirmed_lsn.
-- generation, producer_id, producer_epoch: under what the records are produced, and what that depends on.
-- producer_ids: every producer id that was ever this slot, so that its own records are known.
create table if not exists walpost.relay_state (
  slot                  text primary key,
  phase                 text not null check (phase in ('backfilling', 'streaming')),
  system_id             text,
  timeline              bigint,
  database              text,
  table_oid             oid,
  snapshot_lsn          pg_lsn,
  confirmed_lsn         pg_lsn,
  confirmed_commit_time timestamptz,
  clean_stop            boolean not null default false,
  generation            jsonb,
  producer_id           bigint,
  producer_epoch        integer,
  producer_ids          bigint[] not null default '{}',
  created_at            timestamptz not null default clock_timestamp(),
  updated_at            timestamptz not null default clock_timestamp()
);

-- What walpost looks at before it works with this schema. Last of the schema, so that one that was made by half does not claim it.
create or replace function walpost.schema_version()
returns integer language sql stable as $$
  select 1
$$;

-- The publication through which the WAL is read. Inserts only: updates and deletes of outbox rows then cost nothing. Partitions, if
-- there are any or will be, appear under the name of their root. A publication that is there is not altered, except that the outbox is
-- added, for another tool may have set it up. SQL has no conditional form of either command, so a function that lives for a moment
-- makes them one.
create or replace function walpost.setup_publication() returns void language sql volatile as $$
  create publication walpost for table walpost.outbox with (publish = 'insert', publish_via_partition_root = true)
$$;

select walpost.setup_publication() where not exists (select from pg_catalog.pg_publication where pubname = 'walpost');

create or replace function walpost.setup_publication() returns void language sql volatile as $$
  alter publication walpost add table walpost.outbox
$$;

select walpost.setup_publication() where not exists (
  select from pg_catalog.pg_publication_tables where pubname = 'walpost' and schemaname = 'walpost' and tablename = 'outbox'
) and not exists (
  select from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
  where p.pubname = 'walpost' and r.prrelid = cast('walpost.outbox' as regclass)
);

drop function walpost.setup_publication();
