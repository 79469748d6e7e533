package recordbatch_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/IBM/sarama"
	"golang.org/x/net/proxy"

	"walpost/sink/recordbatch"
	"walpost/sink/recordbatch/internal/generate"
)

// saramaReader decodes batches with sarama. sarama's decoder can be reached only through a fetch. So this type is the other end of a broker
// connection, and each fetch returns one batch.
type saramaReader struct {
	testing.TB
	broker *sarama.Broker
	wire   chan []byte
}

func newSaramaReader(t testing.TB) *saramaReader {
	client, server := net.Pipe()
	r := &saramaReader{t, sarama.NewBroker("pipe:0"), make(chan []byte, 1)}
	cfg := sarama.NewConfig()
	cfg.ApiVersionsRequest = false
	cfg.Net.Proxy.Enable, cfg.Net.Proxy.Dialer = true, dialer{client}
	if err := r.broker.Open(cfg); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.serve(server) }()
	t.Cleanup(func() {
		r.broker.Close()
		if err := <-served; !errors.Is(err, io.EOF) {
			t.Errorf("serve fetches: %v", err)
		}
	})
	return r
}

type dialer struct{ net.Conn }

var _ proxy.Dialer = dialer{}

func (d dialer) Dial(_, _ string) (net.Conn, error) { return d.Conn, nil }

// serve answers each request as Fetch version 4 with the next batch.
func (r *saramaReader) serve(conn net.Conn) error {
	be := binary.BigEndian
	for {
		length := make([]byte, 4)
		if _, err := io.ReadFull(conn, length); err != nil {
			return err
		}
		request := make([]byte, be.Uint32(length))
		if _, err := io.ReadFull(conn, request); err != nil {
			return err
		}
		wire := <-r.wire
		b := append([]byte{0, 0, 0, 0}, request[4:8]...) // correlation id
		b = be.AppendUint32(b, 0)                        // throttle
		b = be.AppendUint32(b, 1)                        // one topic
		b = append(b, 0, 1, 't')
		b = be.AppendUint32(b, 1)          // one partition
		b = be.AppendUint32(b, 0)          // its number
		b = be.AppendUint16(b, 0)          // no error
		b = be.AppendUint64(b, 1<<40)      // high watermark
		b = be.AppendUint64(b, 1<<40)      // last stable offset
		b = be.AppendUint32(b, 0xffffffff) // no aborted transactions
		b = be.AppendUint32(b, uint32(len(wire)))
		b = append(b, wire...)
		be.PutUint32(b, uint32(len(b)-4))
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
}

// read returns the records that sarama decodes from a batch.
func (r *saramaReader) read(wire []byte) (*sarama.RecordBatch, []generate.Record) {
	r.Helper()
	r.wire <- wire
	request := &sarama.FetchRequest{Version: 4}
	request.AddBlock("t", 0, 0, 1<<30, -1)
	res, err := r.broker.Fetch(request)
	if err != nil {
		r.Fatalf("sarama: %v", err)
	}
	sets := res.GetBlock("t", 0).RecordsSet
	if len(sets) != 1 || sets[0].RecordBatch == nil || sets[0].RecordBatch.PartialTrailingRecord {
		r.Fatalf("sarama read %d sets of records of a batch of %d bytes", len(sets), len(wire))
	}
	batch := sets[0].RecordBatch
	var records []generate.Record
	for i, rec := range batch.Records {
		if rec.OffsetDelta != int64(i) || rec.Attributes != 0 {
			r.Fatalf("record %d has the offset %d and attributes %d", i, rec.OffsetDelta, rec.Attributes)
		}
		p := generate.Record{Timestamp: batch.FirstTimestamp.Add(rec.TimestampDelta).UnixMilli(), Key: rec.Key, Value: rec.Value}
		for _, h := range rec.Headers {
			p.Headers = append(p.Headers, generate.Header{Name: string(h.Key), Value: h.Value})
		}
		records = append(records, p)
	}
	return batch, records
}

// checkSarama reads records with sarama that were written with a codec.
func checkSarama(r *saramaReader, codec recordbatch.Codec, e *recordbatch.Encoder, records []generate.Record, s recordbatch.Stamp) {
	r.Helper()
	b := generate.Batch(records)
	wire := seal(r, b, e, s)
	if len(wire) == b.Len() {
		codec = recordbatch.None // it would not get smaller, see Seal
	}
	batch, got := r.read(wire)
	sameRecords(r, got, records)
	if batch.ProducerID != s.ProducerID || batch.ProducerEpoch != s.Epoch || batch.FirstSequence != s.Sequence ||
		int8(batch.Codec) != int8(codec) || batch.MaxTimestamp.UnixMilli() != b.MaxTimestamp() ||
		int(batch.LastOffsetDelta) != len(records)-1 || batch.IsTransactional || batch.Control || batch.LogAppendTime {
		r.Fatalf("%v, %+v: sarama's head says %+v", codec, s, *batch)
	}
}

func TestSaramaReadsEveryCodec(t *testing.T) {
	r := newSaramaReader(t)
	big := make([]generate.Record, 0, 40)
	for i := range 40 {
		v := make([]byte, 1<<16) // beyond lz4's blocks, zstd's window and xerial's frames
		for j := range v {
			v[j] = byte(j * (i + 1) >> 3)
		}
		big = append(big, generate.Record{Timestamp: int64(1000 - i), Key: v[:i], Value: v})
	}
	for _, codec := range codecs {
		e := encoder(t, codec)
		for _, records := range [][]generate.Record{
			{{}},
			{{Key: []byte{}, Value: []byte{}, Headers: []generate.Header{{Name: "n"}, {Value: []byte{}}}}},
			make([]generate.Record, 1000),
			big,
		} {
			checkSarama(r, codec, e, records, recordbatch.Stamp{ProducerID: 1 << 40, Epoch: 12, Sequence: 1<<31 - 1})
		}
	}
}

// FuzzSarama writes records that the fuzzer chooses, with a codec, and compares what sarama reads, what a reader of the plain format
// reads, and what moving the records into other batches gives.
func FuzzSarama(f *testing.F) {
	for _, seed := range generate.Seeds() {
		f.Add(seed)
	}
	encoders := map[recordbatch.Codec]*recordbatch.Encoder{}
	for _, c := range codecs {
		encoders[c] = encoder(f, c)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		records := generate.Records(data)
		b := generate.Batch(records)
		s := recordbatch.Stamp{ProducerID: 3, Epoch: 1, Sequence: int32(len(data))}
		_, got := readPlain(t, seal(t, b, encoders[recordbatch.None], s))
		sameRecords(t, got, records)
		checkRaw(t, b, records)
		codec := codecs[len(data)%len(codecs)]
		checkSarama(newSaramaReader(t), codec, encoders[codec], records, s)
	})
}
