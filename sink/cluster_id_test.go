package sink

import (
	"reflect"
	"slices"
	"testing"

	"github.com/IBM/sarama"
)

// belongTo makes the broker a member of a cluster with this id, and the leader of the partitions of topic orders.
func (b *scripted) belongTo(cluster string, partitions int) {
	res := &sarama.MetadataResponse{Version: 9, ClusterID: &cluster}
	res.AddBroker(b.Addr(), 1)
	for n := range partitions {
		res.AddTopicPartition("orders", int32(n), 1, nil, nil, nil, sarama.ErrNoError)
	}
	b.answer("MetadataRequest", sarama.NewMockWrapper(res))
}

// producers returns the producer ids of the batches that the broker was sent for topic orders, in order.
func (b *scripted) producers() (ids []int64) {
	for _, r := range b.History() {
		req, ok := r.Request.(*sarama.ProduceRequest)
		if !ok {
			continue
		}
		partitions := reflect.ValueOf(req).Elem().FieldByName("records").MapIndex(reflect.ValueOf("orders"))
		if !partitions.IsValid() {
			continue
		}
		for _, n := range partitions.MapKeys() {
			ids = append(ids, partitions.MapIndex(n).FieldByName("RecordBatch").Elem().FieldByName("ProducerID").Int())
		}
	}
	return ids
}

// The same address leads to another cluster, for example because a disaster recovery changed a name in DNS. That cluster's producer ids
// begin at 0 too, so our id may belong to another producer there. Brokers answer success to a sequence that they have seen. So no batch may
// go there under an id of the old cluster.
func TestClusterIsReplaced(t *testing.T) {
	b := newScripted(t, "orders", 2)
	b.belongTo("old", 2)
	acks := newLedger()
	p := open(t, config(t, []string{b.Addr()}), acks)
	keys := []string{keyOf(t, 0, 2, 0, 2), keyOf(t, 1, 2, 1, 2)}
	for i, key := range keys {
		publish(t, p, event("orders", key, i), uint64(i))
	}
	p.Flush(false)
	acks.wait(t, 2, 0)

	b.belongTo("new", 2)
	b.answer("InitProducerIDRequest", sarama.NewMockInitProducerIDResponse(t).SetProducerID(77))
	p.closeConnections()
	before := len(b.producers())
	for i, key := range keys {
		publish(t, p, event("orders", key, i+2), uint64(i+2))
	}
	p.Flush(false)
	acks.wait(t, 4, 0)
	if ids := b.producers()[before:]; len(ids) != 2 || slices.ContainsFunc(ids, func(id int64) bool { return id != 77 }) {
		t.Errorf("the new cluster was sent batches of producers %v, want 77", ids)
	}
	if n := asked[*sarama.InitProducerIDRequest](b); n > 3 {
		t.Errorf("%d producer ids were taken for two lanes of two clusters", n)
	}
}
