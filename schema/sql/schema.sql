-- Everything that walpost keeps in this database. The outbox itself may be a table of yours, in a schema of yours.
create schema if not exists walpost;
