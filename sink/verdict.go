package sink

import (
	"errors"

	"github.com/IBM/sarama"
)

// verdict is what an answer means for the batch that it answers.
type verdict uint8

const (
	done    verdict = iota // it is in the log
	wait                   // time cures it: resend
	unclear                // likewise, and this attempt may have reached the log
	alarm                  // an operator can cure it: resend, and say so
	refused                // a record in it can never be accepted
	lost                   // the broker and the lane disagree on the sequence
)

// judge classifies the outcome of a produce request for one partition. It is the only place that does; what a code means in the field is
// said beside it. Codes that nobody foresaw count as unclear: waiting loses nothing.
func judge(err error) verdict {
	var code sarama.KError
	if !errors.As(err, &code) {
		return unclear // the connection ended, or no answer for the partition came
	}
	switch code {
	case sarama.ErrNoError,
		sarama.ErrDuplicateSequenceNumber: // brokers before 4.0, for a resend of one of the last five batches
		return done

	case sarama.ErrLeaderNotAvailable, // it is being elected
		sarama.ErrBrokerNotAvailable, sarama.ErrReplicaNotAvailable,
		sarama.ErrFencedLeaderEpoch, sarama.ErrUnknownLeaderEpoch,
		sarama.ErrNotEnoughReplicas,       // min.insync.replicas not met, refused before the append
		sarama.ErrThrottlingQuotaExceeded, // a quota
		sarama.ErrConcurrentTransactions,
		sarama.ErrInvalidMessage: // CORRUPT_MESSAGE: the CRC did not match, so the bytes suffered on the way
		return wait

	case sarama.ErrRequestTimedOut, // appended by the leader, too few followers in time
		sarama.ErrNotEnoughReplicasAfterAppend,
		sarama.ErrNotLeaderForPartition, // mostly before the append; but a leader that is deposed while it awaits its followers says the same (Kafka's DelayedProduce)
		sarama.ErrNetworkException, sarama.ErrKafkaStorageError, sarama.ErrUnknown:
		return unclear

	case sarama.ErrUnknownTopicOrPartition, // deleted, or not there yet
		sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed, // an ACL; parking for that would park everything
		sarama.ErrSASLAuthenticationFailed,
		sarama.ErrPolicyViolation,
		sarama.ErrUnsupportedCompressionType, // a setting, and so for every event
		sarama.ErrUnsupportedVersion, sarama.ErrInvalidRequiredAcks:
		return alarm

	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge, // max.message.bytes; no record is named
		sarama.ErrInvalidRecord,    // a null key on a compacted topic, for one; records are named
		sarama.ErrInvalidTimestamp, // message.timestamp.before/after.max.ms; records are named
		sarama.ErrUnsupportedForMessageFormat, sarama.ErrInvalidTopic:
		return refused

	case sarama.ErrOutOfOrderSequenceNumber, // state lost, or another writer under our producer id
		sarama.ErrUnknownProducerID, // brokers before 4.0, when the state expired
		sarama.ErrInvalidProducerEpoch, sarama.ErrInvalidProducerIDMapping, sarama.ErrProducerFenced:
		return lost
	}
	return unclear
}

// reasons are the names that metrics and messages give to refusals.
func reason(err error) string {
	var code sarama.KError
	if !errors.As(err, &code) {
		return "invalid_event"
	}
	switch code {
	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge:
		return "message_too_large"
	case sarama.ErrInvalidRecord:
		return "invalid_record"
	case sarama.ErrInvalidTimestamp:
		return "invalid_timestamp"
	case sarama.ErrInvalidTopic:
		return "invalid_topic"
	}
	return "refused"
}

// cure says what can be done about a refusal or an alarm.
func cure(err error) string {
	var code sarama.KError
	errors.As(err, &code)
	switch code {
	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge:
		return "raise the topic's max.message.bytes (and message.max.bytes of the brokers), or publish a reference instead of the content"
	case sarama.ErrInvalidRecord:
		return "a topic with cleanup.policy=compact takes no record without a key: give the event one, or change the policy"
	case sarama.ErrInvalidTimestamp:
		return "raise the topic's message.timestamp.before.max.ms or message.timestamp.after.max.ms, or correct the clock or the timestamp column"
	case sarama.ErrUnknownTopicOrPartition:
		return "create the topic (kafka-topics.sh --create --topic NAME), or set kafka.allow.auto.create.topics if the brokers may do it"
	case sarama.ErrUnsupportedCompressionType:
		return "set kafka.compression.type to a codec that the brokers know"
	case sarama.ErrTopicAuthorizationFailed:
		return "grant it: kafka-acls.sh --add --allow-principal User:NAME --producer --topic NAME"
	case sarama.ErrClusterAuthorizationFailed:
		return "grant it: kafka-acls.sh --add --allow-principal User:NAME --operation IdempotentWrite --cluster"
	}
	return "see the broker's log"
}
