-- The outbox: services insert a row in the transaction that it tells of, walpost reads it from the WAL and publishes it.
-- A table that is there already is left as it is.
create table if not exists {outbox} (
{columns}
);
