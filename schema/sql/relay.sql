-- The relay reads the outbox table once, for the backfill, and writes its own state.
grant usage on schema {schemas} to {role};

grant execute on function {version} to {role};

grant select on table {outbox} to {role};

grant select, insert, update, delete on table walpost.relay_state, walpost.dead_letters to {role};
