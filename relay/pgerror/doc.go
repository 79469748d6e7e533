// Package pgerror classifies errors of Postgres and of connections to it: as a [Fault], which only a person can cure, as a [Wait], which may
// end by itself but a person can cure sooner, or as neither; then the relay retries.
//
// Only here a SQLSTATE decides between fault, wait and retry; a few callers use [IsSQLState] for their own statements. The package
// guarantees that an unknown error is never a fault, that faults and waits wrap the original error, and that [Classify] does not change an
// error that is classified already. It does not connect and does not log: its caller decides whether to retry, and logs the error once.
//
// sslmode does not change how connection errors are classified.
package pgerror
