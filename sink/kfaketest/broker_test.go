package kfaketest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

const (
	topic      = "orders"
	partitions = 4
	nodes      = 3
)

// broker is an embedded cluster whose produce requests pass through the test. The test passes a request to the cluster, or not, and answers
// it, or not. So it knows what is in the logs, and what the producer was told about it.
type broker struct {
	t       testing.TB
	cluster *kfake.Cluster
	client  *kgo.Client // brings requests

	mu     sync.Mutex
	hang   func(node int32) error // if not nil, called before a request is served
	rand   *rand.Rand
	faults faults
	calm   bool
	late   []delayed
	logs   [partitions][]entry // what was appended, in order, in all the topic's incarnations
	since  [partitions]int     // where the present incarnation begins
	leaked map[int]bool        // events that were appended without a word, or by a broken one
	poison map[int]refusal     // events that are always refused
	met    map[string]int
}

// entry is an event in a log.
type entry struct {
	event    int
	producer int64
	memory   int // number of the topic's incarnation
}

// delayed is a request that was cut off and has not arrived yet.
type delayed struct {
	node int32
	req  *kmsg.ProduceRequest
}

var errCut = errors.New("cut")

func newBroker(t testing.TB, seed uint64, f faults) *broker {
	b := &broker{t: t, rand: rand.New(rand.NewPCG(seed, 3)), faults: f, leaked: map[int]bool{}, poison: map[int]refusal{}, met: map[string]int{}}
	front := &front{t: t, serve: b.serve, inner: map[string]string{}}
	t.Cleanup(front.work.Wait) // when what is below is closed
	var err error
	if b.cluster, err = kfake.NewCluster(kfake.NumBrokers(nodes), kfake.SeedTopics(partitions, topic), kfake.ListenFn(front.listen)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.cluster.Close)
	if b.client, err = kgo.NewClient(kgo.SeedBrokers(b.cluster.ListenAddrs()...), kgo.Dialer(front.dial), kgo.MaxVersions(kversion.V2_8_0())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.client.Close)
	return b
}

// serve lets a request of the producer meet its fate. It handles one request at a time, so that appended events are recorded in the order
// of the logs.
func (b *broker) serve(node int32, req *kmsg.ProduceRequest) (kmsg.Response, error) {
	b.mu.Lock()
	hang := b.hang
	b.mu.Unlock()
	if hang != nil {
		if err := hang(node); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.late) > 0 && (b.calm || b.rand.IntN(2) == 0) {
		b.bring(b.late[0].node, b.late[0].req, func(int32) int16 { return untold })
		b.late = b.late[1:]
	}
	b.disturb()
	switch b.whole() {
	case neverArrives:
		return nil, errCut
	case arrivesLate:
		b.late = append(b.late, delayed{node, req})
		return nil, errCut
	case answerIsLost:
		b.bring(node, req, func(int32) int16 { return untold })
		return nil, errCut
	}
	answer := req.ResponseKind().(*kmsg.ProduceResponse)
	pass := kmsg.NewPtrProduceRequest()
	*pass = *req
	pass.Topics = nil
	codes := map[int32]int16{} // that come after the append, whatever the partition says
	for _, rt := range req.Topics {
		at, pt := kmsg.NewProduceResponseTopic(), rt
		at.Topic, pt.Partitions = rt.Topic, nil
		for _, rp := range rt.Partitions {
			if code, record := b.refuses(rp.Records); code != 0 {
				at.Partitions = append(at.Partitions, answerOf(rp.Partition, code, record))
			} else if code, record := b.brief(rp); code != 0 {
				at.Partitions = append(at.Partitions, answerOf(rp.Partition, code, record))
			} else if code := b.before(); code != 0 {
				at.Partitions = append(at.Partitions, answerOf(rp.Partition, code, -1))
			} else {
				codes[rp.Partition] = b.after()
				pt.Partitions = append(pt.Partitions, rp)
			}
		}
		answer.Topics = append(answer.Topics, at)
		if len(pt.Partitions) > 0 {
			pass.Topics = append(pass.Topics, pt)
		}
	}
	if len(pass.Topics) > 0 {
		for p, code := range b.bring(node, pass, func(p int32) int16 { return codes[p] }) {
			answer.Topics[0].Partitions = append(answer.Topics[0].Partitions, answerOf(p, code, -1))
		}
	}
	return answer, nil
}

func answerOf(partition int32, code int16, record int32) kmsg.ProduceResponseTopicPartition {
	p := kmsg.NewProduceResponseTopicPartition()
	p.Partition, p.ErrorCode = partition, code
	if record >= 0 {
		e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
		e.RelativeOffset = record
		p.ErrorRecords = append(p.ErrorRecords, e)
	}
	return p
}

// untold is the code of an answer that does not reach the producer.
const untold = -100

// bring passes a request to a broker, and records what was appended. It returns the codes for the producer. says returns the code for a
// partition that appended the batch or recognised it.
func (b *broker) bring(node int32, req *kmsg.ProduceRequest, says func(int32) int16) map[int32]int16 {
	own := *req // the client sets the version
	resp, err := b.client.Broker(int(node)).Request(context.Background(), &own)
	if err != nil {
		b.t.Errorf("bring a request to broker %d: %v", node, err)
		return nil
	}
	codes := map[int32]int16{}
	for i, at := range resp.(*kmsg.ProduceResponse).Topics {
		for _, ap := range at.Partitions {
			p := ap.Partition
			if codes[p] = ap.ErrorCode; ap.ErrorCode != 0 {
				b.met[fmt.Sprint("the broker's own ", ap.ErrorCode)]++
				continue
			}
			var records []byte
			for _, rp := range req.Topics[i].Partitions {
				if rp.Partition == p {
					records = rp.Records
				}
			}
			codes[p] = says(p)
			if end := len(b.logs[p]) - b.since[p]; int(ap.BaseOffset) < end {
				b.met["known already"]++
				continue
			}
			producer := int64(binary.BigEndian.Uint64(records[43:]))
			for _, event := range b.events(records) {
				b.logs[p] = append(b.logs[p], entry{event, producer, b.since[p]})
				if codes[p] != 0 {
					b.leaked[event] = true
				}
			}
		}
	}
	return codes
}

// events reads the numbers of a batch's events.
func (b *broker) events(records []byte) (events []int) {
	var batch kmsg.RecordBatch
	if err := batch.ReadFrom(records); err != nil {
		b.t.Errorf("read a batch: %v", err)
		return nil
	}
	for raw := batch.Records; len(raw) > 0; {
		length, n := binary.Varint(raw)
		var r kmsg.Record
		if err := r.ReadFrom(raw[:n+int(length)]); err != nil {
			b.t.Errorf("read a record: %v", err)
			return nil
		}
		event, err := strconv.Atoi(string(r.Key))
		if err != nil {
			b.t.Errorf("a record's key: %v", err)
		}
		events, raw = append(events, event), raw[n+int(length):]
	}
	return events
}
