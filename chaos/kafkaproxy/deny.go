package kafkaproxy

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// API is a request that a producer sends besides its records, with the errors
// in the answers to it after which it may ask again. FindCoordinator is none:
// only groups and transactions have coordinators.
type API struct {
	Name  string // as Kafka's protocol spells it
	Codes []Code
	key   int16
}

// OtherAPIs are these requests.
var OtherAPIs = []*API{
	// Brokers answer a producer without a transactional id with the first
	// while the controller's next block of ids is on its way. The others are
	// for transactions, or of brokers that only speak the protocol.
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

// Deny puts an error code into the next n answers to a request: in metadata
// that name topics, for each of them.
func (c *Cluster) Deny(api *API, code int16, n int, ids ...int32) (*Fault, error) {
	return c.arm(&Fault{kind: denying, key: api.key, code: code, n: n}, ids)
}

// deny does to an answer what the exchange's fault wants. Metadata of the
// brokers alone have nothing to deny.
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

// denyTopic makes a topic's metadata what a broker gives with an error, which
// is the topic's or each of its partitions'.
func denyTopic(t *kmsg.MetadataResponseTopic, code int16) {
	switch code {
	case kerr.LeaderNotAvailable.Code, kerr.ListenerNotFound.Code:
		for i := range t.Partitions {
			t.Partitions[i].ErrorCode, t.Partitions[i].Leader = code, -1
		}
	case kerr.ReplicaNotAvailable.Code: // the leader is known all the same
		for i := range t.Partitions {
			t.Partitions[i].ErrorCode = code
		}
	default:
		t.ErrorCode, t.Partitions = code, nil
	}
}
