-- The relay: it reads the outbox once for the backfill, deletes from it if retention is delete, and keeps its own state.
grant usage on schema {schemas} to {role};

grant select, delete on table {outbox} to {role};

grant select, insert, update, delete on table walpost.relay_state, walpost.dead_letters to {role};
