-- No publish(): it writes the default column names, and the outbox has others. One that is left from before would write to a table
-- that nobody reads.
drop function if exists walpost.publish(text, text, text, jsonb, jsonb);
