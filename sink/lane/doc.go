// Package lane is the state machine of one partition: which events it has, which batch is sent next, and what an answer means for it.
//
// # What it promises
//
//   - Batches leave in the order in which their events were added, one at a time. A batch that failed stays the head, and nothing behind it
//     leaves.
//   - The head is sent again until an answer is definitive, whatever the error: as the same bytes, unless it is divided or renumbered.
//   - One sequence of a producer always means one event. Sequences that may be in the log are given to no other record.
//   - A record that can never be accepted is singled out. Behind it the lane stands still.
//   - Each event comes back once: in a batch that [Lane.Settle] returns, or that [Lane.GiveBack] does.
//
// # What it leaves to its caller
//
// A lane does no I/O, starts no goroutine and sets no timer. Its caller finds the leader, pauses between attempts, takes producer ids,
// sends requests, and reports what was acked or rejected.
//
// # States
//
//	         HandOver, Wake                    Take
//	idle ───────────────────────▶ queued ─────────────────▶ sending
//	 ▲ ▲                          │ │  ▲                     │ │ │
//	 │ └── Take: no batch there ──┘ │  └ SendNext, Resend, ──┘ │ │
//	 │                              │    Renew                 │ │
//	 │           Take, StopIfGone:  │                          │ │
//	 │           partition gone     │                          │ └── Reject ──▶ stopped
//	 │                              ▼                          │
//	 ├── Accept, SetGone(false) ── vacant                      │
//	 └───────────────────────────── Empty ─────────────────────┘
//
// A lane that is queued or sending has one driver. It is whoever was told to route the lane, then the [Sender] that it was handed to, then
// whoever has the answer. The driver calls Take once or Settle once, and does what [Step] says.
//
// # Who calls what
//
//	publishing goroutine, in this order   Enter, Append …, HandOver; Entered
//	sender, for lanes in its queue        Take
//	whoever has the answer                Settle
//	driver, between two requests          SetSender, Failing, Renumber, StopIfGone
//	arranger of the topic                 Refuse, SetGone, AtRest, GiveBack, AppendWaiting, Accept, Wake
//	anybody                               Sender, Waiting
//
// The arranger is whoever holds the lock of the lane's topic. It calls GiveBack only once AtRest has reported true.
package lane
