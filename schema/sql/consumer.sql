-- A service that consumes events claims them with claim(), which only inserts into the inbox. Use another role to delete old rows of the
-- inbox: a role that may delete a claim can make an event happen twice.
grant usage on schema {schemas} to {role};

grant execute on function {functions} to {role};

grant insert on table walpost.inbox to {role};
