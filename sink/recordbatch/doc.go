// Package recordbatch writes Kafka's record batches (magic 2) as they are sent.
//
// A record is encoded once, directly into its batch: the batch is the only copy of an event that walpost keeps. All later steps work on the
// encoded bytes. [Batch.Seal] fills in the 61 bytes of the head, compresses the records and computes the CRC. A sealed batch is sent, and
// sent again, as the same bytes. A compressed batch keeps only its compressed bytes. [Batch.Restamp] gives a sealed batch another producer
// id and sequence: three fields and the CRC. [Batch.Each] iterates over the records, so that a batch can be divided or a record taken out.
// To move a [Raw] record to another batch, two varints are written again and the rest is copied.
//
// The package does no I/O, starts no goroutine and reads no clock. A Batch and an [Encoder] belong to one goroutine at a time.
//
// Format: https://kafka.apache.org/43/implementation/message-format/ (record batch, record, record header).
package recordbatch
