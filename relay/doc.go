// Package relay carries committed outbox rows from a replication slot to a sink, and confirms to Postgres what the sink has acked.
//
// It guarantees:
//
//   - It confirms a transaction only after the sink has acked all its events and all events before it. Each confirmed position is one that
//     the server itself sent. Within a session the confirmed position never falls.
//   - The byte budget bounds memory, whatever the size of a transaction. When the budget is used up, the relay stops reading. It still sends
//     statuses, so the server keeps the session.
//   - It never skips an event. A message that cannot be decoded stops the relay with a reason, once everything before it is acked and
//     confirmed. An event that can never become a record is parked with the later events of its key ([Config.Park]), or stops the relay too.
//   - It waits for anything that time can cure, and shows that it waits: see [Relay.State]. A fault that only a person can cure ends
//     [Relay.Run]. The error has a method Permanent and names object, cause and cure.
//
// It leaves to its caller: configuration, signals, exit codes, and a [Sink], which is responsible for order and retries on the way to Kafka.
//
// Three kinds of goroutine share a session. Only the reader reads the replication connection. Only the confirmer writes to it. The sink's
// goroutines ack. They share the tracker, which has the window of transactions in WAL order and the byte budget. A new session reads
// nothing until the sink has acked what it still holds of the old session. Then the relay empties the window and streams the slot again:
// recovery is the same as start-up.
//
// Every ten seconds a watcher checks what the stream does not show: the slot, the table under the outbox's name, and its place in the
// publication. If rows would never reach the slot, the watcher stops the relay.
//
// This package contains the life of a slot: the first start, the sessions, reading, stopping, watching. Its parts have packages of their
// own:
//
//   - [walpost/relay/inflight]: what is received and not yet acked, and so what may be confirmed;
//   - [walpost/relay/replication]: the replication connection;
//   - [walpost/relay/postgres]: the queries and the records in SQL;
//   - [walpost/relay/pgerror]: what an error of Postgres means;
//   - [walpost/relay/backfill]: the rows that are older than the slot;
//   - [walpost/relay/diagnose], [walpost/relay/slotadmin], [walpost/relay/tail]: the commands that need no running relay.
package relay
