// Package e2e tests the whole pipe from outside: real SQL at one end, an
// independent Kafka client at the other, and between them the walpost binary as
// its users run it, configured by the environment and stopped by signals.
//
// The expected results do not come from walpost. A second replication slot, read
// with SQL, has the committed rows, their order and their LSNs
// (oracle_test.go). Partitions come from franz-go's own partitioner.
package e2e
