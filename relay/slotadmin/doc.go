// Package slotadmin shows, creates and drops the configured slot, for cases in which a person has to handle the slot by hand.
//
// It guarantees that it does not create a slot if events would be lost silently, and does not drop a slot that is in use. While it creates
// or drops a slot, it holds the lock of the slot's first start. It does not change the slot's row in walpost.relay_state. It leaves to its
// caller: to ask for the slot's name, and to print.
package slotadmin
