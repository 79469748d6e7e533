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
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  create index if not exists dead_letters_key on walpost.dead_letters (sha256(key), position)
$$;

select walpost.setup_dead_letters() where pg_catalog.to_regclass('walpost.dead_letters_key') is null;

-- What is still parked, in order.
create or replace function walpost.setup_dead_letters() returns void language sql volatile set lock_timeout = '3s' as $$
  create index if not exists dead_letters_parked on walpost.dead_letters (slot, position) where state in ('head', 'waiting', 'retrying')
$$;

select walpost.setup_dead_letters() where pg_catalog.to_regclass('walpost.dead_letters_parked') is null;

drop function walpost.setup_dead_letters();
