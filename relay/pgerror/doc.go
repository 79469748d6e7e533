// Package pgerror says what an error of Postgres, or of the way to it, means for a relay: a [Fault], which only a person can cure, a [Wait],
// which a person can cure sooner than time, or neither, which is retried.
//
// It is the only place where a SQLSTATE decides between fault, wait and retry; a few callers ask [IsSQLState] about their own statements. It
// promises that an unknown error is never a fault, that a fault and a wait wrap the error
// they were made of, and that [Classify] leaves alone what has been classified already. It connects to nothing and logs nothing: whoever
// gets an error decides whether to retry, and says so once.
//
// sslmode does not change how connection errors are classified.
package pgerror
