// Package deadletter lists parked events, gives them back and discards them, for people. It works on walpost.dead_letters only, also while
// no relay runs. A running relay notices what was given back within two seconds.
//
// States:
//
//	head ──┬─ GiveBack ──▶ retrying ── the relay publishes it ──▶ released
//	 ▲ │   │                  │
//	 │ │ waiting ◀────────────┤ an earlier event of its key is refused again
//	 └─┼──────────────────────┘ it is refused again
//	   └── Discard ──▶ discarded
package deadletter
