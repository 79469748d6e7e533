-- A service that consumes claims events by claim(), which only inserts into the inbox. Deleting old rows of the inbox is for another role:
-- who may delete a claim can make an event happen twice.
grant usage on schema walpost to {role};

grant execute on function {functions} to {role};

grant insert on table walpost.inbox to {role};
