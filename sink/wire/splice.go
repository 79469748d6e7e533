package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

// sarama has no public way to send a batch that it did not encode. So sarama gets a produce request with one empty batch, the placeholder,
// whose base offset is a number. The connection that we dial for sarama knows the parts that belong to that number. When sarama writes the
// request, the connection writes our topics and batches in place of the placeholder. sarama still matches the answer to the request, and
// applies time-outs.
//
// The request has a version that the broker accepts, see produce_version.go.

// placeholder returns the request that stands for the parts.
func (s *Splicer) placeholder(parts []Part, number int64, version int16) *sarama.ProduceRequest {
	r := &sarama.ProduceRequest{RequiredAcks: sarama.WaitForAll, Timeout: int32(s.leaderTimeout() / time.Millisecond), Version: version}
	epoch := time.Unix(0, 0)
	r.AddBatch(parts[0].Topic, parts[0].Partition,
		&sarama.RecordBatch{Version: 2, FirstOffset: number, FirstTimestamp: epoch, MaxTimestamp: epoch})
	return r
}

// spliceConn is a connection to a broker that sarama uses.
type spliceConn struct {
	net.Conn
	raw     net.Conn // the connection below TLS, or Conn itself
	splicer *Splicer
	addr    string        // as it was dialed
	joined  *bufio.Writer // only with TLS, so that small pieces do not become TLS records of their own
	spoken  atomic.Bool   // the peer has sent something

	head []byte      // the bytes of a request besides the batches
	bufs net.Buffers // the pieces of head, with the batches between them
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

// Read reads from the peer.
func (c *spliceConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.spoken.Load() {
		c.spoken.Store(true)
	}
	c.noteEnd(err)
	return n, err
}

// noteEnd counts a connection as a failed attempt to connect if the peer closed it before it sent anything, see [Splicer.Failures].
func (c *spliceConn) noteEnd(err error) {
	if err != nil && HungUp(err) && c.spoken.CompareAndSwap(false, true) {
		c.splicer.failed(c.addr)
	}
}

// A produce request that cannot be replaced must not be sent. If the broker accepted the empty batch, batches that were never sent would
// count as acked.
var (
	errNoPlaceholder = errors.New("unknown form of a produce request")
	errNoRequest     = errors.New("produce request without known batches")
)

// Write writes b. If b is a placeholder, it writes the request that the placeholder stands for. sarama writes each request with one call,
// and never two at a time. A write that fails may have written half a request, and the broker would read the next request as the rest of
// it. So a failed write closes the connection.
func (c *spliceConn) Write(b []byte) (int, error) {
	n, err := c.write(b)
	if err != nil {
		c.noteEnd(err)
		_ = c.raw.Close() // not Conn, whose Close waits until the peer is told
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
	topics, number, flexible, ok := parsePlaceholder(b)
	if !ok {
		return 0, errNoPlaceholder
	}
	parts := c.splicer.claim(number)
	if parts == nil {
		return 0, errNoRequest
	}
	if flexible {
		c.layOutFlexible(b[:topics], parts)
	} else {
		c.layOut(b[:topics], parts)
	}
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

// login writes b with the current user and password.
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

// layOut sets bufs to a request. head is its beginning, up to the topics. The parts of one topic are already next to each other.
//
//	topics  => count [topic]        topic => name count [partition]      partition => index length batch
func (c *spliceConn) layOut(head []byte, parts []Part) {
	be := binary.BigEndian
	h := append(c.head[:0], head...)
	topicsAt, partsAt := len(h), 0
	h = be.AppendUint32(h, 0)
	total := 0
	ends := make([]int, len(parts)) // where in h each batch goes
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
	c.join(h, ends, parts, total)
}

// layOutFlexible is layOut for flexible versions. A length or count n is a varint of n+1. After each structure come its tags, and here there
// are none.
//
//	topics  => count [topic]        topic => name count [partition] tags      partition => index length batch tags      and then tags
func (c *spliceConn) layOutFlexible(head []byte, parts []Part) {
	h := append(c.head[:0], head...)
	topics := 0
	for i, p := range parts {
		if i == 0 || parts[i-1].Topic != p.Topic {
			topics++
		}
	}
	h = binary.AppendUvarint(h, uint64(topics+1))
	total := 0
	ends := make([]int, len(parts))
	for i, p := range parts {
		if i == 0 || parts[i-1].Topic != p.Topic {
			h = binary.AppendUvarint(h, uint64(len(p.Topic)+1))
			h = append(h, p.Topic...)
			count := 1
			for i+count < len(parts) && parts[i+count].Topic == p.Topic {
				count++
			}
			h = binary.AppendUvarint(h, uint64(count+1))
		}
		h = binary.BigEndian.AppendUint32(h, uint32(p.Partition))
		h = binary.AppendUvarint(h, uint64(len(p.Batch)+1))
		total += len(p.Batch)
		ends[i] = len(h)
		h = append(h, 0)
		if i+1 == len(parts) || parts[i+1].Topic != p.Topic {
			h = append(h, 0)
		}
	}
	c.join(append(h, 0), ends, parts, total)
}

// join sets bufs to the bytes of h, with each part's batch inserted where ends says. total is the length of all batches.
func (c *spliceConn) join(h []byte, ends []int, parts []Part, total int) {
	binary.BigEndian.PutUint32(h, uint32(len(h)+total-4)) // the request's length, which does not count itself
	c.head, c.bufs = h, c.bufs[:0]
	from := 0
	for i, p := range parts {
		c.bufs = append(c.bufs, h[from:ends[i]], p.Batch)
		from = ends[i]
	}
	if from < len(h) {
		c.bufs = append(c.bufs, h[from:])
	}
}

// isProduce reports whether b is a produce request of any version.
func isProduce(b []byte) bool { return isRequest(b, produceKey) }

// isRequest reports whether b is a request with this API key, of any version.
func isRequest(b []byte, key uint16) bool {
	be := binary.BigEndian
	return len(b) >= 8 && be.Uint32(b) == uint32(len(b)-4) && be.Uint16(b[4:]) == key
}

// parsePlaceholder parses a produce request with a placeholder. It returns where its topics begin, the batch's base offset, and whether the
// version is flexible. ok is false if the request has another version than ours, or no batch.
//
//	request  => length api_key api_version correlation_id client_id [tags]   transactional_id acks timeout topics
//	                4       2           2              4     2+n      1             2 or 1    2       4
func parsePlaceholder(b []byte) (topics int, number int64, flexible, ok bool) {
	be := binary.BigEndian
	const clientAt = 12
	if len(b) < clientAt+2 {
		return 0, 0, false, false
	}
	version := int16(be.Uint16(b[6:]))
	if version < oldestProduce || version > flexibleProduce {
		return 0, 0, false, false
	}
	flexible = version >= flexibleProduce
	var batchAt int
	if topics = clientAt + 2 + int(be.Uint16(b[clientAt:])); flexible {
		topics += 1 + 1 + 2 + 4
		batchAt, ok = flexibleBatch(b, topics)
	} else {
		topics += 2 + 2 + 4
		batchAt, ok = plainBatch(b, topics)
	}
	if !ok || len(b) < batchAt+8 {
		return 0, 0, false, false
	}
	return topics, int64(be.Uint64(b[batchAt:])), flexible, true
}

// plainBatch returns where the first batch begins.
func plainBatch(b []byte, topics int) (int, bool) {
	nameAt := topics + 4
	if len(b) < nameAt+2 {
		return 0, false
	}
	return nameAt + 2 + int(binary.BigEndian.Uint16(b[nameAt:])) + 4 + 4 + 4, true // count, index and length of the partitions
}

// flexibleBatch is plainBatch for flexible versions.
func flexibleBatch(b []byte, topics int) (at int, ok bool) {
	at = topics
	varint := func() (v uint64) {
		if at > len(b) {
			return 0
		}
		v, n := binary.Uvarint(b[at:])
		if n <= 0 || v == 0 || v > uint64(len(b)) {
			return 0
		}
		at += n
		return v
	}
	if varint() == 0 { // topics
		return 0, false
	}
	name := varint()
	at += int(name) - 1
	if name == 0 || varint() == 0 { // partitions
		return 0, false
	}
	at += 4
	if varint() == 0 { // the batch's length
		return 0, false
	}
	return at, true
}
