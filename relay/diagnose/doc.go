// Package diagnose checks what a relay needs of Postgres, for `walpost doctor`. It makes all checks of a relay's start, and some more for
// problems that appear only later.
//
// It guarantees to change nothing, to take no lock that others could wait for, and to leave no connection open. Each finding that is not OK
// has a cure. It leaves to its caller: how long the checks may take, and to print the findings.
package diagnose
