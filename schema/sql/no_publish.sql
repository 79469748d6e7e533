-- There is no publish() for this outbox: publish() writes to the default column names, and the outbox has other names. A publish() that
-- is left from before would write to a table that nobody reads.
drop function if exists walpost.publish(text, text, text, jsonb, jsonb);
