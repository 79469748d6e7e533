package kfaketest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Brokers that offer fewer versions than Kafka are sent requests that they accept, and get every event. Redpanda and Event Hubs offer 0 to
// 7.
func TestBrokersThatOfferLess(t *testing.T) {
	for newest := int16(3); newest <= 9; newest++ {
		t.Run(fmt.Sprint("produce up to ", newest), func(t *testing.T) {
			versions := kversion.V2_8_0()
			versions.SetMaxKeyVersion(0, newest)
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic), kfake.MaxVersions(versions))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			acks := &ledger{rejected: map[int]error{}, changed: make(chan struct{}, 1)}
			p := open(t, cluster.ListenAddrs(), topic, acks)
			defer p.Close()
			const events = 200
			for i := range events {
				if _, err := p.Publish(event(i), uint64(i)); err != nil {
					t.Fatal(err)
				}
				if i%20 == 0 {
					p.Flush(false)
				}
			}
			p.Flush(false)
			acks.wait(t, events, 0)
			client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			for got := 0; got < events; {
				fetches := client.PollFetches(ctx)
				if err := fetches.Err(); err != nil {
					t.Fatalf("after %d of %d events: %v", got, events, err)
				}
				got += fetches.NumRecords()
			}
		})
	}
}
