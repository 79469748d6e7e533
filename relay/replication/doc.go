// Package replication implements the streaming replication protocol. Only this package reads and writes the replication connection.
//
//	w, err := replication.Connect(ctx, connString, names, log) // a walsender, over TLS, logged in
//	server, err := w.Identify(ctx)
//	snapshot, err := w.CreateSlot(ctx, slot, …)                // at a first start only
//	stream, err := w.Start(ctx, slot, publication, binary)     // START_REPLICATION at 0/0: from the slot's own position
//	confirmer := replication.NewConfirmer(stream, position, …)
//	go confirmer.Run()
//	go silence.Watch(ctx, confirmer) // ends the session if the walsender sends nothing and does not work
//	for {
//		m, err := stream.Next() // slices of the buffer, valid until Fill
//		…                       // m.Kind: Incomplete → stream.Fill(), XLogData, Keepalive, Ended
//	}
//	confirmer.End(true) // a last status, CopyDone
//	stream.Terminate(by) // read until the server ends the stream
//
// Two goroutines share the connection and nothing else. Only the reader reads it, by [Stream.Next] and [Stream.Fill]. Only the [Confirmer]
// writes to it, on a goroutine and a timer of its own. Any goroutine may stop the reader by [Stream.Interrupt].
//
// It guarantees: a status never contains a position beyond the caller's, and its write, flush and apply positions are equal. The package
// decodes no changes and computes no positions. Memory grows with the largest message that was received, not with the length that a message
// claims. Errors of the server are *pgconn.PgError, not yet classified. A notice that means a loss of events is a *pgerror.Fault.
//
// It imports package postgres for the settings of connections, for the identity of a server in walpost.relay_state, and to read over another
// connection what a walsender does.
//
// It leaves to its caller: what may be confirmed, what messages mean, and when to stop.
package replication
