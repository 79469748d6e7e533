// Package backfill publishes the rows that were in the outbox before its slot: they are unsent messages.
//
// It reads a snapshot that was exported when the slot was made, in the order in which the rows were most likely inserted, and publishes them
// as one transaction under the byte budget. It promises that every row of the snapshot was acked when [Backfill.Run] returns nil, and that
// positions sort before everything that the slot brings.
//
// It writes nothing to the database and confirms nothing. Its caller makes the slot, holds the lock of the first start, and records that the
// backfill is done; if it is not, the backfill begins again from a new snapshot, and what was published comes twice.
package backfill
