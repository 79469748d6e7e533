// Package sink publishes events to Kafka and reports each of them back exactly once, acked or rejected.
//
// # What it promises
//
//   - Events of one partition reach its log in the order in which they were published, through retries, leader changes and rejections.
//   - The sink never gives up on a batch because of time. It sends the batch again until a broker's answer is definitive.
//   - If a broker refuses an event because of the event itself (too large, invalid), the sink finds that event in its batch and reports it
//     as rejected. The event's lane stops there, so that no later event overtakes it.
//   - If a broker closes the connection instead of answering a request, other partitions do not wait for long. The sink finds the lane that
//     causes it, and sends that lane over a connection of its own ("apart").
//   - An ack means that all in-sync replicas have the event.
//
// # What it leaves to its caller
//
// The sink knows nothing about Postgres. It writes positions into records and never interprets them. The caller limits the bytes that are
// published and not yet acked. It decides what to do with a rejected event. And it calls [Producer.Publish] and [Producer.Flush] from one
// goroutine.
//
// # How it works
//
//	Publish ──▶ topic ──▶ lane: open batch ──▶ full ones ──▶ sealed ──▶ sender (one per broker) ──▶ ProduceRequest
//	                                                            ▲                                        │
//	                                          resend, divide ───┴───── class ◀───────── answer ◀─────────┘
//
// Publish encodes the event once, into the open batch of its partition's lane. Flush hands the events that were published since the last
// Flush to the senders. While the partitions of a topic are not known, its events wait in the topic, in order.
//
// Package lane decides what happens to a batch. Package kafkaerror decides what an error means. Package record decides what a record looks
// like. IBM/sarama provides metadata, connections, SASL and the decoding of answers. Order and batches are our own code, because sarama's
// AsyncProducer lets later batches of a partition succeed after an earlier one failed. Package wire connects the two. The lock of [Producer]
// has a comment that lists all locks and the order in which they are taken.
package sink
