// Package schema defines the outbox: what an outbox row is, which columns it has, and which objects walpost keeps in the database.
//
// It has three parts, all without I/O:
//
//   - [Event], one outbox row on its way to Kafka, with its [Position];
//   - [Mapping] and [Plan]: which table column feeds which part of an event, and the check that the column's type fits;
//   - the DDL of schema walpost as embedded, versioned SQL.
//
// It imports only the standard library, and internal/spelling, which imports nothing else. It opens no connection. A caller with a
// connection passes a list of columns, and gets a plan or an error that names table, column, found and wanted type. This package does not
// know Kafka or the replication protocol.
package schema
