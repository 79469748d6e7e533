// Package record turns outbox rows into Kafka records: the topic's name, the key, the value, the headers, the timestamp, and the partition
// that the row asks for.
//
//	name, err := c.AppendTopic(name[:0], ev)   // and CheckTopic, when the topic is new
//	rec, err := c.Compose(ev)
//	place, err := PlaceOf(ev)                  // a partition, or the key that a Partitioner places
//
// The same row becomes the same record in every delivery, except for a timestamp that the row does not have. Composing allocates nothing
// for most rows: the record's slices point into the row and into the composer's own memory, and are valid until the next call.
//
// A row that can never be a record gives an error. [BadRow] and the similar functions turn that error into a [BadEvent], which names the
// event, the reason and the cure. The caller has to know which topics exist, how many partitions they have, and how large a record may be.
package record
