package kafkaproxy

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// raw is a client's connection, written and read by the test itself.
type raw struct {
	*net.TCPConn
	t *testing.T
}

func dial(t *testing.T, c *Cluster) raw {
	t.Helper()
	conn, err := net.Dial("tcp", c.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return raw{conn.(*net.TCPConn), t}
}

// send writes a request.
func (c raw) send(correlation int32, q kmsg.Request) {
	c.t.Helper()
	if _, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, q, correlation)); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads an answer.
func (c raw) receive() (correlation int32, body []byte) {
	c.t.Helper()
	start := make([]byte, answerStart)
	_, err := io.ReadFull(c, start)
	if err != nil {
		c.t.Fatalf("read an answer: %v", err)
	}
	body = make([]byte, binary.BigEndian.Uint32(start)-4)
	if _, err := io.ReadFull(c, body); err != nil {
		c.t.Fatalf("read an answer: %v", err)
	}
	return int32(binary.BigEndian.Uint32(start[4:])), body
}

// produce sends one record and returns the error code of its answer.
func (c raw) produce(topic, value string) int16 {
	c.t.Helper()
	c.send(1, produceRequest(topic, value))
	_, body := c.receive()
	return produceCode(c.t, body)
}

// produceCode returns the error code of partition 0.
func produceCode(t *testing.T, body []byte) int16 {
	t.Helper()
	answer := kmsg.NewPtrProduceResponse()
	answer.Version = 8
	if err := answer.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	return answer.Topics[0].Partitions[0].ErrorCode
}

// silent checks that nothing arrives for a moment.
func (c raw) silent() {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	defer c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("something came through: %v", err)
	}
}

// ends waits for the connection's end.
func (c raw) ends() {
	c.t.Helper()
	if n, err := c.Read(make([]byte, 1)); n > 0 {
		c.t.Fatal("an answer came")
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		c.t.Fatal("the connection does not end")
	}
}

// metadataRequest returns a request for the brokers without topics, in the
// version that the tests decode.
func metadataRequest() *kmsg.MetadataRequest {
	q := kmsg.NewPtrMetadataRequest()
	q.Version, q.Topics = 8, []kmsg.MetadataRequestTopic{}
	return q
}

// produceRequest returns a request with one record for partition 0, in walpost's
// version.
func produceRequest(topic, value string) *kmsg.ProduceRequest {
	r := kmsg.Record{Value: []byte(value)}
	r.Length = int32(len(r.AppendTo(nil)) - 1) // a length of 0 took one byte
	b := kmsg.RecordBatch{Magic: 2, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 1, PartitionLeaderEpoch: -1, Records: r.AppendTo(nil)}
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	const attributesAt = 21
	b.CRC = int32(crc32.Checksum(b.AppendTo(nil)[attributesAt:], crc32.MakeTable(crc32.Castagnoli)))

	q := kmsg.NewPtrProduceRequest()
	q.Version, q.Acks = 8, -1
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = b.AppendTo(nil)
	q.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{p}}}
	return q
}
