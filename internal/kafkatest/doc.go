// Package kafkatest provides real Kafka brokers for tests.
//
// Most tests use [Brokers], which returns the broker of this test run, and [Topic], which creates a topic there. [Start] starts one or
// three brokers for one test, to stop, crash, freeze and reconfigure them. [Launch] starts brokers without a test, for the benchmarks and
// for the command behind `make test`.
//
// The brokers are those in WALPOST_TEST_KAFKA. If that is not set, Maven downloads Kafka's own jars into a cache, and Java 17 or newer runs
// them. If that is not possible, the test is skipped, or fails under WALPOST_TEST_REQUIRE=1. The message says what to do.
//
// Started brokers are KRaft nodes, broker and controller at once, on loopback ports. They are numbered from 1, as in metadata. They never
// create topics automatically. They end with the test process, even if that crashes.
package kafkatest
