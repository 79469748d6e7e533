-- The outbox: a service inserts a row in the same transaction as its other changes. walpost reads the row from the WAL and publishes it.
-- An existing table is not altered.
create table if not exists {outbox} (
{columns}
);
