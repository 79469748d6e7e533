package kafkaproxy

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// API is a request other than Produce that a producer sends, with the errors
// after which it may send that request again. FindCoordinator is not among
// them, because only groups and transactions have coordinators.
type API struct {
	Name  string // as Kafka's protocol spells it
	Codes []Code
	key   int16
}

// OtherAPIs are all such requests.
var OtherAPIs = []*API{
	// Brokers return the first error to a producer without a transactional id
	// while they wait for the controller's next block of ids. The other errors
	// are for transactions, or come from brokers other than Kafka's.
	otherAPI("InitProducerId", initProducerIDKey, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator,
		kerr.RequestTimedOut, kerr.UnknownServerError),
	otherAPI("Metadata", metadataKey, kerr.UnknownTopicOrPartition, kerr.LeaderNotAvailable, kerr.ListenerNotFound, kerr.ReplicaNotAvailable,
		kerr.UnknownServerError),
}

func otherAPI(name string, key int16, errs ...*kerr.Error) *API {
	api := &API{Name: name, key: key}
	for _, e := range errs {
		api.Codes = append(api.Codes, codeOf(e, false))
	}
	return api
}

// Deny puts an error code into the next n answers to a request. In metadata it
// puts the code into each topic, and answers without topics do not count.
func (c *Cluster) Deny(api *API, code int16, n int, ids ...int32) (*Fault, error) {
	return c.arm(&Fault{kind: denying, key: api.key, code: code, n: n}, ids)
}

// deny applies the exchange's fault to an answer. Metadata without topics have
// no place for the code.
func (x *exchange) deny(answer kmsg.Response) {
	if x.fault == nil {
		return
	}
	switch answer := answer.(type) {
	case *kmsg.InitProducerIDResponse:
		answer.ErrorCode, answer.ProducerID, answer.ProducerEpoch = x.fault.code, -1, -1
	case *kmsg.MetadataResponse:
		for i := range answer.Topics {
			denyTopic(&answer.Topics[i], x.fault.code)
		}
		if len(answer.Topics) == 0 {
			x.fault.restore()
			x.fault = nil
		}
	}
}

// denyTopic changes a topic's metadata to those that a broker returns with the
// error, which is one of the topic or of each of its partitions.
func denyTopic(t *kmsg.MetadataResponseTopic, code int16) {
	switch code {
	case kerr.LeaderNotAvailable.Code, kerr.ListenerNotFound.Code:
		for i := range t.Partitions {
			t.Partitions[i].ErrorCode, t.Partitions[i].Leader = code, -1
		}
	case kerr.ReplicaNotAvailable.Code: // the leader is known nevertheless
		for i := range t.Partitions {
			t.Partitions[i].ErrorCode = code
		}
	default:
		t.ErrorCode, t.Partitions = code, nil
	}
}
