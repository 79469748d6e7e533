// Package decoder decodes the messages of Postgres's output plugin pgoutput (protocol 1) into outbox events.
//
// One message goes in, at most one change comes out:
//
//	d := decoder.New(table, mapping)
//	for {
//		frame := slot.Receive(ctx) // one message's bytes, valid until the next call
//		change, err := d.Decode(frame)
//		if err != nil {
//			return err // permanent: the message cannot be decoded, and must not be skipped
//		}
//		switch c := change.(type) {
//		case *decoder.Begin: // a transaction starts; everything up to its Commit is committed
//		case *decoder.Insert: // one outbox row: publish c.Event before the next Decode
//		case *decoder.Commit: // the transaction is complete: once its events are acked, c.EndLSN may be confirmed
//		case *decoder.Relation: // the outbox has a new shape: log it
//		case nil: // nothing for the outbox
//		}
//	}
//
// What it promises:
//
//   - It skips nothing that could be an event. It returns an [Error] for an unknown message, a row of a table that was never announced, a
//     value that its column's type does not allow, and a message with missing or extra bytes. After an error it returns no more changes.
//   - It reads each row with the columns that the table had when the row was written. Postgres announces a table's columns before the first
//     row and again after every change of them, even in the middle of a transaction. At each announcement the decoder plans the mapping
//     again, by the names of the columns, or else by the columns given to [Decoder.Follow].
//   - No input makes it panic, or allocate more than a small multiple of the input's size. It checks lengths and counts against the
//     remaining bytes before it allocates.
//   - It allocates nothing for a row. If Postgres sends a value in the form that the event needs, the decoder does not copy it: the value is
//     a slice of the message.
//
// It has no clock, goroutine, logger or I/O. Its state is the relations and types announced on this stream, and the open transaction. So a
// new replication session needs a new decoder. Protocol 1 without streaming sends complete transactions, one after the other, in commit
// order. It never sends a message of an aborted transaction or subtransaction.
//
// The message formats are documented in "Logical Replication Message Formats" in the Postgres manual, and in proto.c of its source.
package decoder
