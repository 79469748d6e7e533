// Package sink carries events to Kafka and reports each of them back exactly once, acked or rejected.
//
// # What it promises
//
// Events of one partition reach its log in the order in which they were published, through retries, leader changes and rejections: a
// partition is a lane, and a lane has one batch under way at a time. A batch is sent, byte for byte the same, until the brokers' answer
// is definitive; nothing is given up because of time. An event that a broker refuses for what it is (too large, invalid) is singled out
// and reported as rejected, and its lane stops there: what is behind it never overtakes it. Every acknowledgement is by all in-sync
// replicas.
//
// # How it works
//
//	Publish ──▶ topic ──▶ lane: open batch ──▶ full ones ──▶ sealed ──▶ sender (one per broker) ──▶ ProduceRequest
//	                                                            ▲                                        │
//	                                          resend, divide ───┴──── verdict ◀──────── answer ◀─────────┘
//
// [Producer.Publish] encodes the event once into its lane's open batch. [Producer.Flush] hands over what was published since the last
// Flush; senders take batches from there. While the partitions of a topic are not known yet, its events wait in the topic, in order.
//
// Metadata, connections, SASL and the answers are IBM/sarama's; order and batches are ours, for its AsyncProducer lets later batches of a
// partition succeed after an earlier one failed. Package wire is the one place where both meet.
//
// The sink knows nothing of Postgres. It writes positions into records and never interprets them.
package sink
