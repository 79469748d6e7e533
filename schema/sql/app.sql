-- The services insert events and cannot read them.
grant insert on table {outbox} to {role};
