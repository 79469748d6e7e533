package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/IBM/sarama"
)

// sarama offers no public way to send a batch that it did not encode. So a produce request is handed to it with one empty batch, a
// placeholder whose base offset is a number; the connection that we dial for sarama knows the number's parts and, when the request
// comes by, writes our topics and batches in the placeholder's stead. Correlation, time-outs and the answer stay sarama's.
//
// The request has version 8: the newest one that is not "flexible", so the layout below is plain, and one that names bad records.
const produceVersion = 8

// placeholder is the request that stands for the parts.
func placeholder(parts []Part, number int64) *sarama.ProduceRequest {
	r := &sarama.ProduceRequest{RequiredAcks: sarama.WaitForAll, Timeout: int32(produceTimeout / time.Millisecond), Version: produceVersion}
	epoch := time.Unix(0, 0)
	r.AddBatch(parts[0].Topic, parts[0].Partition,
		&sarama.RecordBatch{Version: 2, FirstOffset: number, FirstTimestamp: epoch, MaxTimestamp: epoch})
	return r
}

// spliceConn is a connection to a broker that sarama uses.
type spliceConn struct {
	net.Conn
	raw     net.Conn // what Conn encrypts, or Conn itself
	splicer *Splicer
	addr    string        // as it was dialed
	joined  *bufio.Writer // under TLS, so that small pieces do not become records of their own

	head []byte      // what is written of a request besides the batches
	bufs net.Buffers // head in pieces, and the batches between them
}

func newSpliceConn(raw net.Conn, s *Splicer, addr string) *spliceConn {
	return &spliceConn{Conn: raw, raw: raw, splicer: s, addr: addr}
}

func (c *spliceConn) Close() error {
	c.splicer.mu.Lock()
	delete(c.splicer.conns, c)
	c.splicer.mu.Unlock()
	return c.Conn.Close()
}

// A produce request that cannot be replaced must not go out: were an empty batch taken, batches would count as acked that nobody has sent.
var (
	errNoPlaceholder = fmt.Errorf("the broker does not take produce requests of version %d: Kafka 2.4 or newer is needed", produceVersion)
	errNoRequest     = errors.New("a produce request whose batches are not known")
)

// Write writes b, or, if b is a placeholder, the request that it stands for. sarama writes each request by one call, and never two at
// a time. A write that fails may have left half a request, and a broker would take the next one for the rest of it: so it ends the
// connection.
func (c *spliceConn) Write(b []byte) (int, error) {
	n, err := c.write(b)
	if err != nil {
		_ = c.raw.Close() // and not Conn, which waits until it has told the peer of the end
	}
	return n, err
}

func (c *spliceConn) write(b []byte) (int, error) {
	switch {
	case isRequest(b, saslAuthenticateKey) && c.splicer.access.UsesPlain():
		return c.login(b)
	case !isProduce(b):
		return c.Conn.Write(b)
	}
	topics, number, ok := parsePlaceholder(b)
	if !ok {
		return 0, errNoPlaceholder
	}
	parts := c.splicer.claim(number)
	if parts == nil {
		return 0, errNoRequest
	}
	c.layOut(b[:topics], parts)
	if c.joined != nil {
		for _, piece := range c.bufs {
			if _, err := c.joined.Write(piece); err != nil {
				return 0, err
			}
		}
		if err := c.joined.Flush(); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	bufs := c.bufs // WriteTo consumes its receiver
	if _, err := bufs.WriteTo(c.Conn); err != nil {
		return 0, err
	}
	return len(b), nil
}

// login writes the login that b stands for.
func (c *spliceConn) login(b []byte) (int, error) {
	request, err := c.splicer.access.PlainLogin(b)
	if err != nil {
		return 0, err
	}
	if _, err := c.Conn.Write(request); err != nil {
		return 0, err
	}
	return len(b), nil
}

// layOut sets bufs to a request whose head, up to the topics, is given. The parts of one topic lie together already.
//
//	topics  => count [topic]        topic => name count [partition]      partition => index length batch
func (c *spliceConn) layOut(head []byte, parts []Part) {
	be := binary.BigEndian
	h := append(c.head[:0], head...)
	topicsAt, partsAt := len(h), 0
	h = be.AppendUint32(h, 0)
	total := 0
	ends := make([]int, len(parts)) // where in h each batch belongs
	for i, p := range parts {
		if i == 0 || parts[i-1].Topic != p.Topic {
			h = be.AppendUint16(h, uint16(len(p.Topic)))
			h = append(h, p.Topic...)
			partsAt = len(h)
			h = be.AppendUint32(h, 0)
			be.PutUint32(h[topicsAt:], be.Uint32(h[topicsAt:])+1)
		}
		be.PutUint32(h[partsAt:], be.Uint32(h[partsAt:])+1)
		h = be.AppendUint32(h, uint32(p.Partition))
		h = be.AppendUint32(h, uint32(len(p.Batch)))
		total += len(p.Batch)
		ends[i] = len(h)
	}
	be.PutUint32(h, uint32(len(h)+total-4)) // the request's length, itself not counted
	c.head, c.bufs = h, c.bufs[:0]
	from := 0
	for i, p := range parts {
		c.bufs = append(c.bufs, h[from:ends[i]], p.Batch)
		from = ends[i]
	}
}

// isProduce recognises a produce request of any version.
func isProduce(b []byte) bool { return isRequest(b, 0) }

// isRequest recognises a request of any version by its API key.
func isRequest(b []byte, key uint16) bool {
	be := binary.BigEndian
	return len(b) >= 8 && be.Uint32(b) == uint32(len(b)-4) && be.Uint16(b[4:]) == key
}

// parsePlaceholder recognises, among produce requests, one of our version with a batch, and returns where its topics begin and the batch's base offset.
//
//	request => length api_key api_version correlation_id client_id   transactional_id acks timeout topics
//	               4       2           2              4     2+n                  2    2       4
func parsePlaceholder(b []byte) (topics int, number int64, ok bool) {
	be := binary.BigEndian
	const clientAt = 12
	if len(b) < clientAt+2 || be.Uint16(b[6:]) != produceVersion {
		return 0, 0, false
	}
	topics = clientAt + 2 + int(be.Uint16(b[clientAt:])) + 2 + 2 + 4
	nameAt := topics + 4
	if len(b) < nameAt+2 {
		return 0, 0, false
	}
	batchAt := nameAt + 2 + int(be.Uint16(b[nameAt:])) + 4 + 4 + 4 // count, index and length of the partitions
	if len(b) < batchAt+8 {
		return 0, 0, false
	}
	return topics, int64(be.Uint64(b[batchAt:])), true
}
