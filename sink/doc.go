// Package sink publishes events to Kafka and reports each of them back exactly once, acked or rejected.
//
// # What it promises
//
//   - Events of one partition reach its log in the order in which they were published, through retries, leader changes and rejections.
//   - Nothing is given up because of time: a batch is sent until the brokers' answer is definitive.
//   - An event that a broker refuses for what it is (too large, invalid) is singled out and reported as rejected. Its lane stops there, so
//     that nothing behind it overtakes it.
//   - A request that a broker answers by ending the connection does not hold up other partitions for long: its lane is found and sent apart.
//   - An ack means that all in-sync replicas have the event.
//
// # What it leaves to its caller
//
// The sink knows nothing of Postgres. It writes positions into records and never interprets them. Its caller bounds the bytes that are
// published and not acked, decides what becomes of a rejected event, and keeps [Producer.Publish] and [Producer.Flush] in one goroutine.
//
// # How it works
//
//	Publish ──▶ topic ──▶ lane: open batch ──▶ full ones ──▶ sealed ──▶ sender (one per broker) ──▶ ProduceRequest
//	                                                            ▲                                        │
//	                                          resend, divide ───┴───── class ◀───────── answer ◀─────────┘
//
// Publish encodes the event once, into the open batch of its partition's lane. Flush hands over what was published since the last Flush,
// and senders take batches from there. While the partitions of a topic are not known, its events wait in the topic, in order.
//
// What happens to a batch is decided in package lane, what an error means in package kafkaerror, and what a record looks like in package
// record. Metadata, connections, SASL and the answers are IBM/sarama's. Order and batches are ours, for its AsyncProducer lets later
// batches of a partition succeed after an earlier one failed; package wire is where both meet. Which locks there are, and in what order
// they are taken, stands at the one of [Producer].
package sink
