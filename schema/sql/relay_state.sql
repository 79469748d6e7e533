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
