-- The services: they insert events, and cannot read them. The same role consumes, if it consumes: claim() and what it works on.
grant usage on schema {schemas} to {role};

grant insert on table {outbox} to {role};

grant execute on function {functions} to {role};

grant select, insert, delete on table walpost.inbox to {role};
