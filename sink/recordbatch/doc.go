// Package recordbatch writes Kafka's record batches (magic 2) in the form in which they travel.
//
// A record is encoded once, straight into its batch, and never again: the batch is the only copy of an event that walpost keeps. What
// happens to it afterwards works on the encoded bytes. [Batch.Seal] fills in the 61 bytes of head, compresses and computes the CRC; a
// sealed batch is sent, and resent, as the same bytes, and once it is compressed these are all that is kept. [Batch.Restamp] gives it
// another producer id and sequence: three fields and the CRC. [Batch.Each] walks the records, so that a batch can be divided or a record
// taken out: a [Raw] record moves to another batch by writing two varints anew and copying the rest.
//
// The package does no I/O, starts no goroutine and reads no clock. A Batch and an [Encoder] belong to one goroutine at a time.
//
// Format: https://kafka.apache.org/43/implementation/message-format/ (record batch, record, record header).
package recordbatch
