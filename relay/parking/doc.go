// Package parking keeps events that cannot be sent in walpost.dead_letters, so that all others flow.
//
//	sink ── Park ──▶ Parker's queue ──▶ walpost.dead_letters, committed ── acked ──▶ tracker
//	  ▲                    │
//	  └──── Verdict ◀── Keys ◀── Load, at the beginning of a session
//
//	walpost.dead_letters, given back by a person ── Release, in rounds ──▶ sink ── acked, or back ──▶ recorded
//	                                                                                                     │
//	                        the last step: what came meanwhile goes to the front of the lane, and the key flows
//
// # What it promises
//
//   - An event counts as acked only after its dead letter is committed with synchronous_commit = on.
//   - From the moment at which an event is parked, later events of its topic and key have the verdict Park, until the key flows again.
//     Its events are published in order, also where it begins to flow: [Replayer.Resume] sends what was kept before anything else of the key.
//   - An event that is delivered again, and has a dead letter in any state, is neither sent nor parked again.
//   - Only the session that has the slot writes: each transaction locks the slot's row in walpost.relay_state and compares its holder.
//   - Nothing is skipped. While the table cannot be written, the events stay in the queue, and the parker says so. If they can never be
//     written, the relay stops.
package parking
