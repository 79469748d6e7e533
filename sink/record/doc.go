// Package record makes Kafka records of outbox rows: the topic's name, key, value, headers, timestamp, and the partition that the row asks
// for.
//
//	name, err := c.AppendTopic(name[:0], ev)   // and CheckTopic, when the topic is new
//	rec, err := c.Compose(ev)
//	place, err := PlaceOf(ev)                  // a partition, or the key that a Partitioner places
//
// The same row makes the same record in every delivery, but for a timestamp that the row does not have. Composing allocates nothing for
// most rows: the record's slices are views of the row and of the composer's own memory, valid until the next call.
//
// A row that can never be a record gives an error; [BadRow] and its siblings make of it a [BadEvent], which names the event, the reason
// and the cure. Which topics exist, how many partitions they have, and how large a record may be is for the caller to know.
package record
