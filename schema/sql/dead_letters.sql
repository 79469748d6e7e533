-- Events that Kafka refused, and events that wait behind them: the record that walpost wanted to send, and why it could not.
-- slot and position identify an event, even if Postgres delivers it again.
-- position has the form of the header ce_sequence and sorts bytewise.
-- topic is null if no name could be made, partition is null if none was chosen.
-- header_names and header_values are parallel. A null value is a null header.
-- reason is a code from a fixed list, detail is the message of the broker or of walpost.
-- state: head was refused, waiting waits behind a head with the same topic and key, or for its topic (reason topic_blocked), retrying was given back to the relay, released was
-- published in the end, discarded was given up. note and actor are of the person who last gave it back or discarded it: the database role,
-- and the user of the operating system. In the last two states, walpost empties value and headers when Postgres can no longer deliver the event
-- again, and deletes the row after 30 days.
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
  actor            text,
  parked_at        timestamptz not null default clock_timestamp(),
  updated_at       timestamptz not null default clock_timestamp(),
  unique (slot, position)
);

-- Earlier forms of the table have no column actor.
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  alter table walpost.dead_letters add column if not exists actor text
$$;

select walpost.setup_dead_letters()
where not exists (select from pg_catalog.pg_attribute where attrelid = pg_catalog.to_regclass('walpost.dead_letters') and attname = 'actor' and not attisdropped);

-- For the events that wait for a person, in order. Those that wait for a topic are left out, because there may be millions.
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  create index if not exists dead_letters_person on walpost.dead_letters (slot, position)
    where state in ('head', 'waiting', 'retrying') and not (state = 'waiting' and reason = 'topic_blocked' and topic is not null)
$$;

select walpost.setup_dead_letters() where pg_catalog.to_regclass('walpost.dead_letters_person') is null;

-- For those of a key. It uses a hash, because an index accepts values of about 2700 bytes at most, and a key may be longer.
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  create index if not exists dead_letters_person_key on walpost.dead_letters (sha256(key), position)
    where state in ('head', 'waiting', 'retrying') and not (state = 'waiting' and reason = 'topic_blocked' and topic is not null)
$$;

select walpost.setup_dead_letters() where pg_catalog.to_regclass('walpost.dead_letters_person_key') is null;

-- For the events that are given back, in order.
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  create index if not exists dead_letters_retrying on walpost.dead_letters (slot, position) where state = 'retrying'
$$;

select walpost.setup_dead_letters() where pg_catalog.to_regclass('walpost.dead_letters_retrying') is null;

-- For the events that wait for a topic, in order.
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  create index if not exists dead_letters_blocked on walpost.dead_letters (slot, topic, position) where state = 'waiting' and reason = 'topic_blocked'
$$;

select walpost.setup_dead_letters() where pg_catalog.to_regclass('walpost.dead_letters_blocked') is null;

-- For the events that only waited for a topic, and are published, until they are purged.
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  create index if not exists dead_letters_drained on walpost.dead_letters (slot, substr(position, 10, 16))
    where state = 'released' and reason = 'topic_blocked'
$$;

select walpost.setup_dead_letters() where pg_catalog.to_regclass('walpost.dead_letters_drained') is null;

-- For the events that are over, and whose contents are not emptied yet.
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  create index if not exists dead_letters_filled on walpost.dead_letters (slot, substr(position, 10, 16))
    where state in ('released', 'discarded') and (value is not null or header_names <> '{}')
$$;

select walpost.setup_dead_letters() where pg_catalog.to_regclass('walpost.dead_letters_filled') is null;

-- For the events that are over, by age.
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  create index if not exists dead_letters_age on walpost.dead_letters (slot, updated_at) where state in ('released', 'discarded')
$$;

select walpost.setup_dead_letters() where pg_catalog.to_regclass('walpost.dead_letters_age') is null;

-- Earlier forms of the table have indexes that include events that are over, or that wait for a topic. They are dropped last, because
-- nobody can read the table from then on until the transaction ends.
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  drop index if exists walpost.dead_letters_key
$$;

select walpost.setup_dead_letters() where pg_catalog.to_regclass('walpost.dead_letters_key') is not null;

-- The same.
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  drop index if exists walpost.dead_letters_parked_key
$$;

select walpost.setup_dead_letters() where pg_catalog.to_regclass('walpost.dead_letters_parked_key') is not null;

-- The same.
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  drop index if exists walpost.dead_letters_parked
$$;

select walpost.setup_dead_letters() where pg_catalog.to_regclass('walpost.dead_letters_parked') is not null;

drop function walpost.setup_dead_letters();
