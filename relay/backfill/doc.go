// Package backfill publishes the rows that were in the outbox before the slot was created. They are messages that nobody has sent yet.
//
// It reads the snapshot that was exported at the creation of the slot, in the order in which the rows were most likely inserted. It
// publishes the rows as one transaction, within the byte budget. It guarantees that all rows of the snapshot are acked when [Backfill.Run]
// returns nil, and that their positions sort before those of all events from the slot.
//
// It writes nothing to the database and confirms nothing. Its caller creates the slot, holds the lock of the first start, and records that
// the backfill is done. If that is not recorded, the backfill begins again from a new snapshot, and publishes some rows twice.
package backfill
