// Package slotadmin shows, creates and drops the configured slot, for the day on which a person has to handle it by hand.
//
// It promises that a slot is not created as if nothing was lost, and not dropped while somebody uses it: both hold the lock of the slot's first
// start meanwhile. What relays have recorded of a slot stays. What it leaves to its caller: to ask for the slot's name, and to print.
package slotadmin
