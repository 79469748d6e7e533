// Package kafkaerror classifies the errors of brokers: what a code means for the batch that it answers, what metrics call it, and what an
// operator can do about it.
//
// It is the only place that interprets codes of Kafka's. A new code is added here, with a comment on what happens in the field, and to the
// table of its test. An error that it does not know is [Unclear], which loses nothing: the batch is sent again.
//
// The package holds no state and logs nothing. Its caller acts on the class, and decides which errors of connections only a person can
// cure: those have no code.
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
	Wait                  // time cures it: resend
	Unclear               // time cures it: resend; but this attempt may have reached the log
	Alarm                 // an operator can cure it: resend, and warn
	Refused               // a record in the batch can never be accepted
	Lost                  // the broker and the lane disagree on the sequence
	Repeated              // the broker has seen the sequence: Done if an earlier attempt may have reached the log, else Lost
	Cut                   // the connection ends whenever the batch is sent: divide it; a single event is resent, and an operator can cure it
)

// ErrOtherCluster is the error of a batch that would go to another cluster than the one that gave its producer id. Nothing was sent: there
// the same id belongs to somebody else, whose sequences would pass for those of the batch.
var ErrOtherCluster = errors.New("the brokers belong to another cluster than before")

// RequestCut is the error of a request with one batch, each sending of which ended its connection while the broker answered other requests.
// Brokers do so above socket.request.max.bytes, and so does what stands before them above a limit of its own. They name no reason, so this
// is a conclusion, and for its caller to draw. The class is [Cut].
type RequestCut struct {
	Broker string // its address
	Bytes  int    // of the request
	Events int    // in it
	Times  int    // how often the connection ended, one after the other
	Err    error  // how it ended last
}

// Error says what happened, and how large the request is.
func (e *RequestCut) Error() string {
	return fmt.Sprintf("broker %s, or what stands before it, ended the connection %d times on getting this request of %d bytes, and answers others: %v", e.Broker, e.Times, e.Bytes, e.Err)
}

// Unwrap returns Err.
func (e *RequestCut) Unwrap() error { return e.Err }

// ResendCut is how often a single event is sent again that has ended its connection each time.
const ResendCut = 30 * time.Second

// cutOf returns the RequestCut in err, nil if there is none.
func cutOf(err error) *RequestCut {
	var cut *RequestCut
	errors.As(err, &cut)
	return cut
}

// Classify returns the class of the error that one partition answered a produce request with, or that ended the request. What a code means
// in the field is said beside it. An error without a known code of Kafka's is Unclear, unless it has a method NotSent that returns true:
// then nothing of the request was written, and the class is Wait.
func Classify(err error) Class {
	if errors.Is(err, ErrOtherCluster) {
		return Lost
	}
	if cutOf(err) != nil {
		return Cut
	}
	c := Unclear // the connection ended, or no answer for the partition came
	if code, ok := codeOf(err); ok {
		c = classOf(code)
	}
	var sent interface{ NotSent() bool }
	if c == Unclear && errors.As(err, &sent) && sent.NotSent() {
		return Wait
	}
	return c
}

// Elsewhere reports whether err may mean that the partition is led by another broker than the one that was asked. Errors of a quota, of
// followers or of a permission do not: to look for another leader before the resend would only cost time.
func Elsewhere(err error) bool {
	code, ok := codeOf(err)
	if !ok {
		return true // the connection
	}
	switch code {
	case sarama.ErrLeaderNotAvailable, sarama.ErrNotLeaderForPartition, sarama.ErrBrokerNotAvailable, sarama.ErrReplicaNotAvailable,
		sarama.ErrFencedLeaderEpoch, sarama.ErrUnknownLeaderEpoch, sarama.ErrUnknownTopicOrPartition, sarama.ErrNetworkException,
		sarama.ErrKafkaStorageError, sarama.ErrRequestTimedOut, sarama.ErrUnknown:
		return true
	}
	return false
}

// codeOf returns the code in err. sarama wraps those of a login so that they answer to Is and not to As.
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

	case sarama.ErrLeaderNotAvailable, // it is being elected
		sarama.ErrBrokerNotAvailable, sarama.ErrReplicaNotAvailable,
		sarama.ErrFencedLeaderEpoch, sarama.ErrUnknownLeaderEpoch,
		sarama.ErrNotEnoughReplicas,       // min.insync.replicas not met, refused before the append
		sarama.ErrThrottlingQuotaExceeded, // a quota
		sarama.ErrConcurrentTransactions,
		sarama.ErrInvalidMessage: // CORRUPT_MESSAGE: the CRC did not match, so the bytes suffered on the way
		return Wait

	case sarama.ErrRequestTimedOut, // appended by the leader, too few followers in time
		sarama.ErrNotEnoughReplicasAfterAppend,
		sarama.ErrNotLeaderForPartition, // mostly before the append; but a leader that is deposed while it awaits its followers says the same (Kafka's DelayedProduce)
		sarama.ErrNetworkException, sarama.ErrKafkaStorageError, sarama.ErrUnknown:
		return Unclear

	case sarama.ErrUnknownTopicOrPartition, // deleted, or not there yet
		sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed, // an ACL; parking for that would park everything
		sarama.ErrSASLAuthenticationFailed, sarama.ErrUnsupportedSASLMechanism, sarama.ErrIllegalSASLState, // a connection made later than at the start
		sarama.ErrPolicyViolation,
		sarama.ErrUnsupportedForMessageFormat, // the topic's format is older than headers are
		sarama.ErrInvalidTopic,                // one of Kafka's own; brokers of other makes have names of theirs
		sarama.ErrUnsupportedCompressionType,  // a setting, and so for every event
		sarama.ErrUnsupportedVersion, sarama.ErrInvalidRequiredAcks:
		return Alarm

	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge, // max.message.bytes; no record is named
		sarama.ErrInvalidRecord,    // a null key on a compacted topic, for one; records are named
		sarama.ErrInvalidTimestamp: // message.timestamp.before/after.max.ms; records are named
		return Refused

	case sarama.ErrOutOfOrderSequenceNumber, // state lost, or another writer under our producer id
		sarama.ErrUnknownProducerID, // brokers before 4.0, when the state expired
		sarama.ErrInvalidProducerEpoch, sarama.ErrInvalidProducerIDMapping, sarama.ErrProducerFenced:
		return Lost
	}
	return Unclear
}

// Reason returns the code of a refusal, for metrics and messages.
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

// WaitReason returns the code of an error that is waited for.
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

// Cure returns what an operator can do about a refusal, an alarm or a single event that is cut off. User:NAME and --topic NAME in it stand for the names at hand.
func Cure(err error) string {
	if cut := cutOf(err); cut != nil {
		if cut.Events > 1 {
			return "" // it is divided
		}
		return fmt.Sprintf("raise socket.request.max.bytes of the brokers above %d, or the limit of what stands between walpost and them, such as a proxy; the event is sent every %v until then", cut.Bytes, ResendCut)
	}
	code, _ := codeOf(err)
	switch code {
	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge:
		return "raise the topic's max.message.bytes (and message.max.bytes of the brokers), or publish a reference instead of the content"
	case sarama.ErrInvalidRecord:
		return "a topic with cleanup.policy=compact takes no record without a key: give the event one, or change the policy"
	case sarama.ErrInvalidTimestamp:
		return "raise the topic's message.timestamp.before.max.ms or message.timestamp.after.max.ms, or correct the clock or the timestamp column"
	case sarama.ErrUnknownTopicOrPartition:
		return "create the topic (kafka-topics.sh --create --topic NAME), or set kafka.allow.auto.create.topics if the brokers may do it"
	case sarama.ErrInvalidTopic:
		return "change outbox.topic, or what fills the columns that it names: the brokers take no events for a topic of this name, which may be one of Kafka's own"
	case sarama.ErrUnsupportedForMessageFormat:
		return "raise message.format.version of the topic (log.message.format.version of the brokers) to 0.11.0 or newer: older formats have no headers"
	case sarama.ErrSASLAuthenticationFailed, sarama.ErrUnsupportedSASLMechanism, sarama.ErrIllegalSASLState:
		return "check the login: kafka.sasl.mechanism, the user and its password, and that the brokers know them"
	case sarama.ErrUnsupportedCompressionType:
		return "set kafka.compression.type to a codec that the brokers know"
	case sarama.ErrTopicAuthorizationFailed:
		return "grant it: kafka-acls.sh --add --allow-principal User:NAME --producer --topic NAME"
	case sarama.ErrClusterAuthorizationFailed:
		return "grant it: kafka-acls.sh --add --allow-principal User:NAME --operation IdempotentWrite --cluster"
	}
	return "see the broker's log"
}
