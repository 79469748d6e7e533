// Package kafkaerror classifies the errors of brokers: what an error code means for the batch that it answers, which reason code metrics
// show for it, and what an operator can do about it.
//
// Only this package interprets Kafka's error codes. To add a code, add it here, with a comment about when brokers send it, and to the table
// of the test. An unknown error is [Unclear], which loses nothing: the batch is sent again.
//
// The package holds no state and logs nothing. Its caller acts on the class. The caller also decides which connection errors only a person
// can cure, because those have no code.
package kafkaerror

import (
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/reason"
)

// Class is what an error means for the batch that it answers.
type Class uint8

// The classes.
const (
	Done     Class = iota // the batch is in the log
	Wait                  // the cause ends by itself: resend
	Unclear               // the cause ends by itself: resend; but this attempt may have reached the log
	Alarm                 // an operator can cure it: resend, and warn
	Refused               // a record in the batch can never be accepted
	Lost                  // the broker and the lane disagree on the sequence
	Repeated              // the broker has seen the sequence: Done if an earlier attempt may have reached the log, else Lost
	Cut                   // the connection ends whenever the batch is sent: divide it; a single event is sent again, and an operator can cure it
)

// ErrOtherCluster is the error of a batch that would go to another cluster than the one that gave its producer id. Nothing was sent. In the
// other cluster, the same id belongs to another producer, and the broker would mistake that producer's sequences for those of the batch.
var ErrOtherCluster = errors.New("the brokers belong to another cluster than before")

// RequestCut is the error of a request with one batch that ended its connection each time it was sent, while the broker answered other
// requests. Brokers do this to requests above socket.request.max.bytes, and so does a proxy in front of them above its own limit. They give
// no reason, so the caller has to conclude it. The class is [Cut].
type RequestCut struct {
	Broker string // its address
	Bytes  int    // size of the request
	Events int    // number of events in it
	Times  int    // how often in a row the connection ended
	Err    error  // the error of the last time
}

// Error says what happened, and how large the request is.
func (e *RequestCut) Error() string {
	return fmt.Sprintf("broker %s, or a proxy in front of it, closed the connection %d times when it got this request of %d bytes, and answers other requests: %v", e.Broker, e.Times, e.Bytes, e.Err)
}

// Unwrap returns Err.
func (e *RequestCut) Unwrap() error { return e.Err }

// ResendCut is the pause between attempts to send a single event that has ended its connection each time.
const ResendCut = 30 * time.Second

// cutOf returns the RequestCut in err, nil if there is none.
func cutOf(err error) *RequestCut {
	var cut *RequestCut
	errors.As(err, &cut)
	return cut
}

// Classify returns the class of err, the error with which a partition answered a produce request, or which ended the request. Comments at
// the codes say when brokers send them. An error without a known code of Kafka's is Unclear, unless it has a method NotSent that returns
// true: then nothing of the request was written, and the class is Wait.
func Classify(err error) Class {
	if errors.Is(err, ErrOtherCluster) {
		return Lost
	}
	if cutOf(err) != nil {
		return Cut
	}
	c := Unclear // the connection ended, or the answer left the partition out
	if code, ok := codeOf(err); ok {
		c = classOf(code)
	}
	var sent interface{ NotSent() bool }
	if c == Unclear && errors.As(err, &sent) && sent.NotSent() {
		return Wait
	}
	return c
}

// Elsewhere reports whether err may mean that another broker leads the partition. Errors about a quota, about followers or about a
// permission do not: looking for another leader before the resend would only cost time.
func Elsewhere(err error) bool {
	code, ok := codeOf(err)
	if !ok {
		return true // an error of the connection
	}
	switch code {
	case sarama.ErrLeaderNotAvailable, sarama.ErrNotLeaderForPartition, sarama.ErrBrokerNotAvailable, sarama.ErrReplicaNotAvailable,
		sarama.ErrFencedLeaderEpoch, sarama.ErrUnknownLeaderEpoch, sarama.ErrUnknownTopicOrPartition, sarama.ErrNetworkException,
		sarama.ErrKafkaStorageError, sarama.ErrRequestTimedOut, sarama.ErrUnknown:
		return true
	}
	return false
}

// codeOf returns the code in err. sarama wraps the codes of a login so that errors.Is finds them and errors.As does not.
func codeOf(err error) (code sarama.KError, ok bool) {
	for _, code := range []sarama.KError{sarama.ErrSASLAuthenticationFailed, sarama.ErrUnsupportedSASLMechanism, sarama.ErrIllegalSASLState} {
		if errors.Is(err, code) {
			return code, true
		}
	}
	return code, errors.As(err, &code)
}

func classOf(code sarama.KError) Class {
	switch code {
	case sarama.ErrNoError:
		return Done

	case sarama.ErrDuplicateSequenceNumber: // brokers before 4.0, for a resend of one of the last five batches
		return Repeated

	case sarama.ErrLeaderNotAvailable, // a leader is being elected
		sarama.ErrBrokerNotAvailable, sarama.ErrReplicaNotAvailable,
		sarama.ErrFencedLeaderEpoch, sarama.ErrUnknownLeaderEpoch,
		sarama.ErrNotEnoughReplicas,       // min.insync.replicas not met, refused before the append
		sarama.ErrThrottlingQuotaExceeded, // a quota
		sarama.ErrConcurrentTransactions,
		sarama.ErrInvalidMessage: // CORRUPT_MESSAGE: the CRC did not match, so the bytes were damaged on the way
		return Wait

	case sarama.ErrRequestTimedOut, // the leader has appended it, but too few followers did in time
		sarama.ErrNotEnoughReplicasAfterAppend,
		sarama.ErrNotLeaderForPartition, // usually before the append; but a leader that loses its role while it waits for its followers answers the same (Kafka's DelayedProduce)
		sarama.ErrNetworkException, sarama.ErrKafkaStorageError, sarama.ErrUnknown:
		return Unclear

	case sarama.ErrUnknownTopicOrPartition, // deleted, or not created yet
		sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed, // an ACL is missing; parking events for that would park all of them
		sarama.ErrSASLAuthenticationFailed, sarama.ErrUnsupportedSASLMechanism, sarama.ErrIllegalSASLState, // on a connection that is made after the start
		sarama.ErrPolicyViolation,
		sarama.ErrUnsupportedForMessageFormat, // the topic's format is too old for headers
		sarama.ErrInvalidTopic,                // one of Kafka's own topics; other brokers have other reserved names
		sarama.ErrUnsupportedCompressionType,  // a wrong setting, so it concerns every event
		sarama.ErrUnsupportedVersion, sarama.ErrInvalidRequiredAcks:
		return Alarm

	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge, // max.message.bytes; the answer names no record
		sarama.ErrInvalidRecord,    // for example a null key on a compacted topic; the answer names the records
		sarama.ErrInvalidTimestamp: // message.timestamp.before/after.max.ms; the answer names the records
		return Refused

	case sarama.ErrOutOfOrderSequenceNumber, // the broker lost its state, or another producer writes with our producer id
		sarama.ErrUnknownProducerID, // brokers before 4.0, when the state expired
		sarama.ErrInvalidProducerEpoch, sarama.ErrInvalidProducerIDMapping, sarama.ErrProducerFenced:
		return Lost
	}
	return Unclear
}

// Reason returns the reason code of a refusal, for metrics and messages.
func Reason(err error) reason.Code {
	code, ok := codeOf(err)
	if !ok {
		return reason.InvalidEvent
	}
	switch code {
	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge:
		return reason.MessageTooLarge
	case sarama.ErrInvalidRecord:
		return reason.InvalidRecord
	case sarama.ErrInvalidTimestamp:
		return reason.InvalidTimestamp
	}
	return reason.Refused
}

// WaitReason returns the reason code of an error that walpost waits out.
func WaitReason(err error) reason.Code {
	if cutOf(err) != nil {
		return reason.RequestCut
	}
	code, ok := codeOf(err)
	if !ok {
		return reason.KafkaUnreachable
	}
	switch code {
	case sarama.ErrUnknownTopicOrPartition:
		return reason.TopicMissing
	case sarama.ErrTopicAuthorizationFailed:
		return reason.TopicNotAuthorized
	case sarama.ErrClusterAuthorizationFailed:
		return reason.KafkaNotAuthorized
	case sarama.ErrSASLAuthenticationFailed, sarama.ErrUnsupportedSASLMechanism, sarama.ErrIllegalSASLState:
		return reason.KafkaLogin
	case sarama.ErrInvalidTopic:
		return reason.InvalidTopic
	case sarama.ErrNotEnoughReplicas, sarama.ErrNotEnoughReplicasAfterAppend:
		return reason.NotEnoughReplicas
	}
	if Classify(err) == Alarm {
		return reason.KafkaUnsuitable
	}
	return reason.KafkaNotReady
}

// Cure returns what an operator can do about a refusal, an alarm, or a single event that ends its connection. The caller replaces User:NAME,
// --topic NAME and BROKERS in it by the actual names.
func Cure(err error) string {
	if cut := cutOf(err); cut != nil {
		if cut.Events > 1 {
			return "" // it is divided
		}
		return fmt.Sprintf("raise socket.request.max.bytes of the brokers above %d, or the limit of a proxy in front of them; until then, walpost sends the event every %v", cut.Bytes, ResendCut)
	}
	code, _ := codeOf(err)
	switch code {
	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge:
		return "raise the topic's max.message.bytes (and message.max.bytes of the brokers), or publish a reference instead of the content"
	case sarama.ErrInvalidRecord:
		return "a topic with cleanup.policy=compact refuses records without a key: give the event a key, or change the policy"
	case sarama.ErrInvalidTimestamp:
		return "raise the topic's message.timestamp.before.max.ms or message.timestamp.after.max.ms, or correct the clock or the timestamp column"
	case sarama.ErrUnknownTopicOrPartition:
		return "create the topic (kafka-topics.sh --create --topic NAME --bootstrap-server BROKERS, with the --partitions and --replication-factor that it needs), or set kafka.allow.auto.create.topics if the brokers may create it"
	case sarama.ErrInvalidTopic:
		return "change outbox.topic, or the values in the columns that it names: the brokers accept no events for a topic of this name, which may be one of Kafka's own"
	case sarama.ErrUnsupportedForMessageFormat:
		return "raise message.format.version of the topic (log.message.format.version of the brokers) to 0.11.0 or newer: older formats do not have headers"
	case sarama.ErrSASLAuthenticationFailed, sarama.ErrUnsupportedSASLMechanism, sarama.ErrIllegalSASLState:
		return "check the login: kafka.sasl.mechanism, the user and its password, and that the brokers know them"
	case sarama.ErrUnsupportedCompressionType:
		return "set kafka.compression.type to a codec that the brokers support"
	case sarama.ErrTopicAuthorizationFailed:
		return "grant it: kafka-acls.sh --add --allow-principal User:NAME --producer --topic NAME --bootstrap-server BROKERS"
	case sarama.ErrClusterAuthorizationFailed:
		return "grant it: kafka-acls.sh --add --allow-principal User:NAME --operation IdempotentWrite --cluster --bootstrap-server BROKERS (since Kafka 2.8, Write on one topic is enough)"
	}
	return "see the broker's log"
}
