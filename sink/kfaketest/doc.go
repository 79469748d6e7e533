// Package kfaketest drives the whole producer of package sink against franz-go's embedded broker, which answers what a test chooses: every
// code that a produce request may get, before or after the append, lost answers, late requests, moved leaders, topics made anew. The
// journeys of a single batch through such answers are the same before a real broker, behind the chaos proxy. And it measures what an outage
// of brokers with ten thousand partitions takes: memory, goroutines, lines of the log, requests. It is a module of its own, so
// that the relay does not depend on a second Kafka client.
package kfaketest
