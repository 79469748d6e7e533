package e2e

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Every codec, read back with an independent client.
func TestCodecs(t *testing.T) {
	t.Parallel()
	for name, codec := range map[string]kgo.CompressionCodecType{
		"none": kgo.CodecNone, "gzip": kgo.CodecGzip, "snappy": kgo.CodecSnappy, "lz4": kgo.CodecLz4, "zstd": kgo.CodecZstd, "": kgo.CodecZstd,
	} {
		t.Run("codec "+name, func(t *testing.T) {
			t.Parallel()
			p := newPipe(t).withSchema(t)
			topic := p.topic(t, "order", 3, nil)
			var env []string
			if name != "" {
				env = append(env, "WALPOST_KAFKA_COMPRESSION_TYPE="+name)
			}
			r := p.start(t, env...)
			truth := newOracle(t, p)
			p.exec(t, `INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload)
				SELECT 'order', 'k'||i, 'x', jsonb_build_object('i', i, 'filler', repeat('abc', 200)) FROM generate_series(1, 3000) i`)
			p.settle(t)
			r.stop(t)
			p.exactlyOnce(t, topic, truth.rows(t))
			p.each(t, topic, func(record *kgo.Record) {
				if got := record.Attrs.CompressionType(); got != uint8(codec) {
					t.Fatalf("offset %d is compressed by codec %d, want %d", record.Offset, got, codec)
				}
				if len(record.Value) < 600 {
					t.Fatalf("offset %d: %s", record.Offset, record.Value)
				}
			})
		})
	}
}
