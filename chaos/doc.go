// Command chaos tests walpost's guarantees. It runs the real relay between a
// real Postgres and three real Kafka brokers, and causes one fault after
// another while transactions commit. Then it compares, row by row, the
// committed rows with the records in the topics.
//
// Four parts work independently of each other. The workload commits. The
// nemesis causes faults and repairs them. The sampler records the slot's
// position and the relay's memory while the faults happen. The checker reads
// the topics with a client of its own, and takes the order of commits from a
// second slot of the server. Its result is the ledger, with one row per fault.
package main
