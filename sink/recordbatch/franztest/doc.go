// Package franztest tests that franz-go can read the batches that package recordbatch writes. It is a module of its own, so that the relay
// does not depend on a second Kafka client.
package franztest
