package sink

import (
	"fmt"
	"testing"

	"walpost/internal/kafkatest"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

func TestEventsReachKafkaInOrder(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	for _, codec := range []recordbatch.Codec{recordbatch.None, recordbatch.Gzip, recordbatch.Snappy, recordbatch.LZ4, recordbatch.Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			topic := kafkatest.Name(t)
			kafkatest.Topic(t, brokers, topic, 6, nil)
			acks := newLedger()
			cfg := config(t, brokers)
			cfg.Codec = codec
			cfg.MaxRequestSize = 20_000 // many batches a lane
			p := open(t, cfg, acks)
			const events, keys = 5000, 40
			held := 0
			for i := range events {
				held += publish(t, p, event(topic, fmt.Sprintf("k-%d", i%keys), i), uint64(i/10))
				if i%100 == 99 {
					p.Flush(false)
				}
			}
			acks.wait(t, events, 0)
			if acks.bytes != held {
				t.Errorf("%d bytes acked of %d published", acks.bytes, held)
			}
			last := map[string]string{}
			for n, records := range consume(t, brokers, topic, events) {
				for _, m := range records {
					id := string(m.Headers[0].Value)
					if want := record.Murmur2.Partition(m.Key, 6); want != int32(n) {
						t.Fatalf("key %s in partition %d, want %d", m.Key, n, want)
					}
					if last[string(m.Key)] >= id {
						t.Fatalf("key %s: %s after %s", m.Key, id, last[string(m.Key)])
					}
					last[string(m.Key)] = id
				}
			}
		})
	}
}
