// Package e2e tests the whole pipe from outside: real SQL on one end, an
// independent Kafka client on the other, and between them the walpost binary
// as its users run it, configured by the environment and stopped by signals.
//
// What a test expects does not come from walpost. Which rows were committed,
// in which order and at which LSN, a second replication slot tells, read by
// SQL (oracle_test.go); partitions come from franz-go's own partitioner.
package e2e
