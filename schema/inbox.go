package schema

// InboxUpgrade makes an inbox of version 1 one of version 2. Its rows get the source that claim() with two arguments means.
const InboxUpgrade = `alter table walpost.inbox add column source text collate "C" not null default '', ` +
	`alter column consumer type text collate "C", alter column event_id type text collate "C", ` +
	`drop constraint inbox_pkey, add constraint inbox_pkey primary key (consumer, source, event_id)`

// inboxTokens make the migration of an inbox of version 1. The refusal is the text of a cast that fails: a statement of SQL has no other
// way to say what is wrong.
func inboxTokens() tokens {
	return tokens{
		"has_source": inboxHasSource,
		"upgrade":    InboxUpgrade,
		"refusal":    QuoteLiteral("table walpost.inbox is that of version 1 and has rows. Run this at a quiet time, and then the migration again: " + InboxUpgrade),
	}
}
