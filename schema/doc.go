// Package schema is the outbox contract: what an outbox row is, which columns it has and what walpost keeps in the database.
//
// It holds three things, all pure:
//
//   - [Event], one outbox row on its way to Kafka, with its [Position];
//   - [Mapping] and [Plan]: which table column feeds which part of an event, and the check that its type is one that can;
//   - the DDL of schema walpost as embedded, versioned SQL.
//
// It imports the standard library, and internal/spelling, which imports nothing else. It opens no connection: whoever has one hands in a
// list of columns and gets back a plan or an error that names table, column, found and wanted type. Kafka and the replication protocol
// are unknown here.
package schema
