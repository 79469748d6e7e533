// Package postgres contains the relay's SQL over ordinary connections: it reads the catalog, checks whether a relay can work with it, and
// writes the relay's records. The stream itself is in package replication.
//
// [Source] is the configured outbox, slot and publication. Its checks return nil, or an error of package pgerror that names the object, the
// cause and the cure. [Found] collects what the checks found. [Slot], [Publication] and [Outbox] are what the catalog showed at one moment.
// [RelayState] is the slot's row of walpost.relay_state, the only table in which a relay keeps state. [Recorder] writes the last
// confirmation there.
//
// It guarantees: checks change nothing, except CheckPublication, which creates the publication of a first start if the role may do that.
// Connections have settings that make the text of a value independent of server and role. Every query runs on Postgres 14 and later.
//
// The package exports many functions, and each is small. Sessions, the first start, the watcher, doctor and the slot commands need different
// parts of the same tables. In smaller packages these queries and their error texts would be repeated.
//
// It leaves to its caller: when to check, what to do about a result, and time limits, for which there is [Timeout].
package postgres
