-- The state that the relay of a slot needs after a restart.
-- phase: backfilling until the rows that were in the table at the first start are published, then streaming.
-- system_id, timeline, database and table_oid: the server, database and table for which the slot was created.
-- snapshot_lsn: the position at which the slot began and the backfill ended.
-- confirmed_lsn and confirmed_commit_time: the last confirmation, written every few seconds while there are new ones.
-- clean_stop: the relay stopped with everything confirmed, so the slot must not be ahead of confirmed_lsn.
-- generation, producer_id, producer_epoch: the identity under which records are produced, and what it depends on.
-- holder: a word of the session that has the slot. Whoever parks events, or publishes parked ones, compares it first.
-- producer_ids: every producer id that this slot ever had, so that the relay recognises its own records.
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
  holder                text,
  created_at            timestamptz not null default clock_timestamp(),
  updated_at            timestamptz not null default clock_timestamp()
);

-- Earlier forms of the table have no column holder.
create or replace function walpost.setup_relay_state() returns void language sql volatile set lock_timeout = '3s' as $$
  alter table walpost.relay_state add column if not exists holder text
$$;

select walpost.setup_relay_state()
where not exists (select from pg_catalog.pg_attribute where attrelid = pg_catalog.to_regclass('walpost.relay_state') and attname = 'holder' and not attisdropped);

drop function walpost.setup_relay_state();
