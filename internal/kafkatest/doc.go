// Package kafkatest gives tests real Kafka brokers.
//
// [Brokers] is what most tests want: the broker of this test run, with
// [Topic] for a topic in it. [Start] gives a test brokers to itself, one or
// three, to stop, crash, freeze and reconfigure; [Launch] does that without
// a test, for the benchmarks and for the command behind `make test`.
//
// Where brokers come from, in this order: the addresses in
// WALPOST_TEST_KAFKA; Kafka's own jars, by Maven into a cache, run by Java 17
// or newer. When neither can be had, the test is skipped, or fails under
// WALPOST_TEST_REQUIRE=1, with the ways out in its message.
//
// Started brokers are KRaft nodes that are broker and controller at once,
// each numbered from 1 as metadata shows it, on loopback ports. Topics are
// never created by accident. They end with the test process, however that
// ends.
package kafkatest
