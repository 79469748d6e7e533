// Package relay carries committed outbox rows from a replication slot to a sink and tells Postgres what it may forget.
//
// What it promises:
//
//   - Postgres is told to forget a transaction only when the sink has acked all its events and all events before it. The position told is
//     always one that the server itself gave, and never falls within a session.
//   - Memory is bounded by the byte budget, whatever a transaction's size. When the budget is used up the relay stops reading; what it
//     tells the server, and that it is alive, goes on.
//   - Nothing is skipped. What cannot be decoded, and an event that can never become a record, stop the relay with a reason once
//     everything before it is acked and confirmed.
//   - What time can cure is waited for, visibly: see [Relay.State]. What only a person can cure ends [Relay.Run] with an error that has
//     a method Permanent and names object, cause and cure.
//
// What it leaves to its caller: configuration, signals, exit codes, and a [Sink], which owns order and retries on the way to Kafka.
//
// Three goroutines share a session: the reader, which alone reads the replication connection; the confirmer, which alone writes it; and
// the sink's, which ack. They meet in the tracker: the window of transactions in WAL order and the byte budget. On a new session nothing
// is read before the sink has acked what it still holds of the old one; then memory is forgotten and the slot is streamed again: recovery
// is start-up.
//
// Beside them a watcher looks every ten seconds at what the stream does not tell: the slot, the table under the outbox's name and its
// place in the publication. Rows that would never reach the slot end the relay rather than be missed.
//
// This package has the life of a slot: the first start, sessions one after the other, reading, leaving, watching. Its parts are in packages of
// their own:
//
//   - [walpost/relay/inflight]: what is received and not yet acked, and so what may be confirmed;
//   - [walpost/relay/replication]: the replication connection;
//   - [walpost/relay/postgres]: what is asked of the database and told to it, in SQL;
//   - [walpost/relay/pgerror]: what an error of Postgres means;
//   - [walpost/relay/backfill]: the rows from before the slot;
//   - [walpost/relay/diagnose], [walpost/relay/slotadmin], [walpost/relay/tail]: what people do without a relay.
package relay
