// Package lane is the state machine of one partition. A lane holds the partition's events, chooses the batch to send next, and decides what
// an answer means for that batch.
//
// # What it promises
//
//   - Batches are sent in the order in which their events were added, one at a time. A batch that failed stays the head, and no batch behind
//     it is sent.
//   - Whatever the error, the head is sent again until an answer is definitive. It is sent as the same bytes, unless it is divided or
//     renumbered.
//   - A sequence of a producer id always stands for the same event. A sequence that may be in the log is never given to another record.
//   - If a record can never be accepted, the lane finds it. Without a [Sieve] it stops there and sends nothing behind that record. With a
//     sieve it hands the record out, and what is behind it goes through the sieve before it gets a sequence.
//   - Each event comes back once, in a batch that [Lane.Settle] or [Lane.GiveBack] returns, or that the sieve takes.
//
// # What it leaves to its caller
//
// A lane does no I/O, starts no goroutine and sets no timer. The caller finds the leader, pauses between attempts, takes producer ids,
// sends requests, and reports events as acked or rejected.
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
// A lane that is queued or sending has exactly one driver. First, the driver is the caller that has to route the lane. Then it is the [Sender]
// that got the lane, and then the goroutine that has the answer. The driver calls Take once or Settle once, and does what [Step] says.
// After SetAside it calls Next, which says the next step.
//
// # Who calls what
//
//	publishing goroutine, in this order   Enter, Append …, HandOver; Entered
//	sender, for lanes in its queue        Take
//	goroutine that has the answer         Settle
//	driver, between two requests          SetSender, Failing, Renumber, StopIfGone; Next after SetAside
//	arranger of the topic                 Refuse, SetGone, AtRest, GiveBack, AppendWaiting, Accept, Wake
//	any goroutine                         Sender, Waiting, PutFirst, PutLast
//
// The arranger is the goroutine that holds the lock of the lane's topic. It calls GiveBack only after AtRest has reported true.
package lane
