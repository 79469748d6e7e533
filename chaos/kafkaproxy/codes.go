package kafkaproxy

import (
	"github.com/twmb/franz-go/pkg/kerr"
)

// Code is an error code of a produce answer.
type Code struct {
	Name   string // as Kafka's protocol spells it
	Number int16
	// Ambiguous means that the records may be in the log. Otherwise the
	// broker promises that this attempt appended nothing.
	Ambiguous bool
}

// Retriable are the errors that brokers return to produce requests and after
// which Kafka's protocol lets a producer send the same request again. Brokers
// are those of Kafka, in every version in use, and others that speak its
// protocol. UNKNOWN_SERVER_ERROR is included. The protocol does not call it
// retriable, but a producer that gives up after it may lose records.
var Retriable = retriable()

// produceErrors are the retriable errors of produce requests, and whether
// records may have been appended before the error arose.
var produceErrors = []struct {
	err       *kerr.Error
	ambiguous bool
}{
	{kerr.UnknownServerError, true},
	{kerr.CorruptMessage, false},
	{kerr.UnknownTopicOrPartition, false}, // before the append, or the log is deleted together with the records
	{kerr.LeaderNotAvailable, false},
	// Usually before the append. But a leader that has appended and is
	// deposed while it waits for its followers answers the same, and the new
	// leader may have the records.
	{kerr.NotLeaderForPartition, true},
	{kerr.RequestTimedOut, true},
	{kerr.BrokerNotAvailable, false},
	{kerr.ReplicaNotAvailable, false},
	{kerr.NetworkException, true},
	// From a transaction's coordinator, before the append.
	{kerr.CoordinatorLoadInProgress, false},
	{kerr.CoordinatorNotAvailable, false},
	{kerr.NotCoordinator, false},
	{kerr.NotEnoughReplicas, false},
	{kerr.NotEnoughReplicasAfterAppend, true},
	{kerr.KafkaStorageError, true},
	{kerr.FencedLeaderEpoch, false},
	{kerr.UnknownLeaderEpoch, false},
	{kerr.ThrottlingQuotaExceeded, false},
}

func codeOf(e *kerr.Error, ambiguous bool) Code {
	return Code{Name: e.Message, Number: e.Code, Ambiguous: ambiguous}
}

func retriable() []Code {
	var list []Code
	for _, e := range produceErrors {
		list = append(list, codeOf(e.err, e.ambiguous))
	}
	return list
}
