package kafkaproxy

import (
	"github.com/twmb/franz-go/pkg/kerr"
)

// Code is an error that a produce answer can carry.
type Code struct {
	Name   string // as Kafka's protocol spells it
	Number int16
	// Ambiguous: the records may be in the log. Without it the broker
	// promises that this attempt left nothing there.
	Ambiguous bool
}

// Retriable are the errors after which Kafka's protocol lets a producer send
// the same again, as far as brokers give them to produce requests: Kafka's of
// every version that is about, and those that speak its protocol.
// UNKNOWN_SERVER_ERROR is with them: the protocol does not call it
// retriable, but who gives up on it loses what may be in the log.
var Retriable = retriable()

// produceErrors are the retriable errors of produce requests, and whether
// records may have been appended before the error arose.
var produceErrors = []struct {
	err       *kerr.Error
	ambiguous bool
}{
	{kerr.UnknownServerError, true},
	{kerr.CorruptMessage, false},
	{kerr.UnknownTopicOrPartition, false}, // before the append, or the log is deleted with what was appended
	{kerr.LeaderNotAvailable, false},
	// Most of the time before the append. But a leader that has appended, and
	// is deposed while it awaits its followers, answers the same; and the
	// new leader may have the records.
	{kerr.NotLeaderForPartition, true},
	{kerr.RequestTimedOut, true},
	{kerr.BrokerNotAvailable, false},
	{kerr.ReplicaNotAvailable, false},
	{kerr.NetworkException, true},
	// A transaction's coordinator, asked before the append.
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
