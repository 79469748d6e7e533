// Package diagnose checks what a relay needs of Postgres, for `walpost doctor`: the checks of a relay's start, all of them, and some that a start
// has no use for because what they find only hurts later.
//
// It promises to change nothing, to take no lock that anybody could wait for, and to leave no connection behind. Each finding that is not OK
// has its cure. What it leaves to its caller: how long it may take, and to print the findings.
package diagnose
