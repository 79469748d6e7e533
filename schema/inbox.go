package schema

// InboxUpgrade is the statement that turns an inbox of version 1 into one of version 2. Its rows get the empty source, which claim() with
// two arguments uses.
const InboxUpgrade = `alter table walpost.inbox add column source text collate "C" not null default '', ` +
	`alter column consumer type text collate "C", alter column event_id type text collate "C", ` +
	`drop constraint inbox_pkey, add constraint inbox_pkey primary key (consumer, source, event_id)`

// inboxTokens returns the texts for the migration of an inbox of version 1. The refusal is the text of a cast that fails, because a plain
// SQL statement has no other way to report an error.
func inboxTokens() tokens {
	return tokens{
		"has_source": inboxHasSource,
		"upgrade":    QuoteLiteral(InboxUpgrade),
		"refusal":    QuoteLiteral("table walpost.inbox has the form of version 1 and has rows. At a quiet time, run the following statement, and then the migration again: " + InboxUpgrade),
	}
}
