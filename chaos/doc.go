// Command chaos shows what walpost's guarantees are worth: it runs the real
// relay between a real Postgres and three real Kafka brokers, brings one fault
// after another over them while transactions commit, and then compares, row by
// row, what was committed with what is in the topics.
//
// Four parts know nothing of each other's work: the workload commits, the
// nemesis breaks and mends, the witness notes what can only be seen while it
// happens, and the checker reads the topics with a client of its own and takes
// the order of commits from a second slot of the server's. The ledger is its
// verdict, one row per fault.
package main
