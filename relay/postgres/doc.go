// Package postgres asks the database and tells it, in SQL over ordinary connections: what is there, whether a relay can work with it, and
// what the relay records. The stream itself is in package replication.
//
// [Source] is the configured outbox, slot and publication. Its checks return nil, or an error of package pgerror that names the object, the
// cause and the cure. [Found] collects what they found. [Slot], [Publication] and [Outbox] are what the catalog showed at one moment.
// [RelayState] is the slot's row of walpost.relay_state, the only table of which a relay's state is kept; [Recorder] writes the last
// confirmation there.
//
// What it promises: checks change nothing, but for CheckPublication, which creates the publication of a first start where the role may.
// Connections have settings that make a value's text independent of server and role. Every query runs on Postgres 14 and later.
//
// Its face is wide, and each question in it is small: sessions, the first start, the watcher, doctor and the verbs ask different ones of the same
// tables, in the same words. Cut further, they would say them twice.
//
// What it leaves to its caller: when to look, what to do about what was found, and time limits; [Timeout] is there for that.
package postgres
