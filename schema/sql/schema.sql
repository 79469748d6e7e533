-- This schema has everything that walpost keeps in this database. The outbox may also be your own table in another schema.
create schema if not exists walpost;
