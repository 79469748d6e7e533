// Package kfaketest tests the whole producer of package sink against franz-go's embedded broker. Each test chooses the broker's answers:
// every code that a produce request may get, before or after the append, lost answers, late requests, moved leaders, re-created topics. The
// journeys of a single batch through such answers are the same as with a real broker behind the chaos proxy. The package also
// measures what an outage of brokers with ten thousand partitions takes: memory, goroutines, log lines and requests. It is a module of its
// own, so that the relay does not depend on a second Kafka client.
package kfaketest
