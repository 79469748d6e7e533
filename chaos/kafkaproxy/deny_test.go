package kafkaproxy

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The codes are retriable, or UNKNOWN_SERVER_ERROR, which can mean anything.
func TestCodesOfDenials(t *testing.T) {
	for _, api := range OtherAPIs {
		for _, c := range api.Codes {
			if e := kerr.TypedErrorForCode(c.Number); !e.Retriable && e != kerr.UnknownServerError {
				t.Errorf("%s: %s is not retriable", api.Name, e.Message)
			}
		}
	}
}

// A denied answer has the code in the right place, and the next answer is the broker's.
func TestDenyMetadata(t *testing.T) {
	c, topic := launch(t)
	k := client(t, c.Addresses())
	ask := func() kmsg.MetadataResponseTopic {
		q := kmsg.NewPtrMetadataRequest()
		one := kmsg.NewMetadataRequestTopic()
		one.Topic = &topic
		q.Topics = append(q.Topics, one)
		answer, err := k.Broker(1).Request(limited(t), q)
		if err != nil {
			t.Fatal(err)
		}
		return answer.(*kmsg.MetadataResponse).Topics[0]
	}
	api := OtherAPIs[1]
	for _, code := range api.Codes {
		f, err := c.Deny(api, code.Number, 1)
		if err != nil {
			t.Fatal(err)
		}
		got := ask()
		if got.ErrorCode != code.Number && (len(got.Partitions) != 1 || got.Partitions[0].ErrorCode != code.Number) {
			t.Errorf("%s: the answer is %+v", code.Name, got)
		}
		met(t, f)
		if got := ask(); got.ErrorCode != 0 || len(got.Partitions) != 1 || got.Partitions[0].ErrorCode != 0 || got.Partitions[0].Leader != 1 {
			t.Errorf("after %s the answer is %+v", code.Name, got)
		}
	}
}

// A fault is not applied to metadata without topics. It waits for metadata with topics.
func TestDenyWaitsForTopics(t *testing.T) {
	c, _ := launch(t)
	f, err := c.Deny(OtherAPIs[1], kerr.LeaderNotAvailable.Code, 1)
	if err != nil {
		t.Fatal(err)
	}
	q := kmsg.NewPtrMetadataRequest()
	q.Topics = []kmsg.MetadataRequestTopic{}
	if _, err := client(t, c.Addresses()).Broker(1).Request(limited(t), q); err != nil {
		t.Fatal(err)
	}
	if f.Used() != 0 {
		t.Error("the fault was used")
	}
	f.Cancel()
}

func TestDenyProducerIDs(t *testing.T) {
	c, _ := launch(t)
	k := client(t, c.Addresses())
	ask := func() *kmsg.InitProducerIDResponse {
		q := kmsg.NewPtrInitProducerIDRequest()
		q.ProducerID, q.ProducerEpoch = -1, -1
		answer, err := k.Broker(1).Request(limited(t), q)
		if err != nil {
			t.Fatal(err)
		}
		return answer.(*kmsg.InitProducerIDResponse)
	}
	given := func() bool { got := ask(); return got.ErrorCode == 0 && got.ProducerID >= 0 }
	await(t, given)
	api := OtherAPIs[0]
	for _, code := range api.Codes {
		f, err := c.Deny(api, code.Number, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(); got.ErrorCode != code.Number || got.ProducerID != -1 {
			t.Errorf("%s: the answer is %+v", code.Name, got)
		}
		met(t, f)
		await(t, given) // a broker that has just started returns the first of the codes itself for a while
	}
}
