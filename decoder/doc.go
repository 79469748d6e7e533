// Package decoder turns the messages of Postgres's replication plugin pgoutput (protocol 1) into outbox events.
//
// One message goes in, at most one change comes out:
//
//	d := decoder.New(table, mapping)
//	for {
//		frame := slot.Receive(ctx) // one message's bytes, valid until the next call
//		change, err := d.Decode(frame)
//		if err != nil {
//			return err // permanent: this stream cannot be understood, and nothing of it may be stepped over
//		}
//		switch c := change.(type) {
//		case *decoder.Begin: // a transaction starts; all that follows up to its Commit is committed
//		case *decoder.Insert: // one outbox row: publish c.Event before the next Decode
//		case *decoder.Commit: // the transaction is whole: once its events are acked, c.EndLSN may be confirmed
//		case *decoder.Relation: // the outbox has a new shape: a line for the log
//		case nil: // nothing for the outbox
//		}
//	}
//
// What it promises:
//
//   - Nothing is skipped that could be an event. An unknown message, a row of a table that was never announced, a value that its column's
//     type does not allow, a byte too few or too many is an [Error], and after an error the decoder gives no change any more.
//   - A row is read in the shape of its time. Postgres announces a table's columns before the first row and again after every change
//     of them, in the middle of a transaction too; the mapping is planned anew at each announcement, by column name, or else by what
//     [Decoder.Follow] told.
//   - No input makes it panic or allocate more than a small multiple of the input's own size: lengths and counts are checked against
//     the bytes that are there before anything is made.
//   - A row costs no allocation, and what Postgres sends as an event has it is not copied: such values are slices of the message.
//
// It has no clock, goroutine, logger or I/O. Its state is the relations and types announced on this stream and the open transaction,
// so a new replication session needs a new decoder. Transactions arrive whole, one after the other, in commit order, which is what
// protocol 1 without streaming gives: no message of an aborted (sub)transaction is ever seen.
//
// The message formats are those of "Logical Replication Message Formats" in the Postgres manual and of proto.c in its source.
package decoder
