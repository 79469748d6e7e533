// Package replication speaks the streaming replication protocol: the only package that reads and writes the replication connection.
//
//	w, err := replication.Connect(ctx, connString, names, log) // a walsender, over TLS, logged in
//	server, err := w.Identify(ctx)
//	snapshot, err := w.CreateSlot(ctx, slot, …)                // at a first start only
//	stream, err := w.Start(ctx, slot, publication, binary)     // START_REPLICATION at 0/0: from where the slot stands
//	confirmer := replication.NewConfirmer(stream, position, …)
//	go confirmer.Run()
//	go silence.Watch(ctx, confirmer) // a walsender that says nothing is kept while it works
//	for {
//		m, err := stream.Next() // slices of the buffer, valid until Fill
//		…                       // m.Kind: Incomplete → stream.Fill(), XLogData, Keepalive, Ended
//	}
//	confirmer.End(true) // a last status, CopyDone
//	stream.TakeLeave(by)  // read until the server ends the stream
//
// Two goroutines share the connection and nothing else. The reader alone reads it, by [Stream.Next] and [Stream.Fill]. The [Confirmer] alone
// writes it, on a goroutine and a timer of its own. Anybody may stop the reader by [Stream.Interrupt].
//
// What it promises: a status never tells more than the caller's position, and tells it as flush, write and apply alike. Nothing is decoded,
// and no position is computed. Memory grows with the largest message that came, not with the length that a message claims. Errors of the
// server are *pgconn.PgError, not yet classified; a notice that tells of loss is a *pgerror.Fault.
//
// It imports package postgres for the settings that every connection has, for what relay_state records of a server, and to
// look at a walsender from outside.
//
// What it leaves to its caller: what may be confirmed, what messages mean, when to stop.
package replication
