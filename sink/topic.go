package sink

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"

	"walpost/schema"
	"walpost/sink/recordbatch"
)

// topic is a topic that events go to: its lanes, or, while the partitions are not known, the events that wait for them.
type topic struct {
	name  string
	limit atomic.Int64            // bytes of a batch, uncompressed
	lanes atomic.Pointer[[]*lane] // by partition; nil: not known yet

	published, bytes prometheus.Counter

	// The publishing goroutine's.
	staged []*unplaced // published in this pass
	dirty  bool

	mu      sync.Mutex
	waiting []*unplaced // handed over before lanes was set
}

// unplaced is a batch of events whose partitions are not known.
type unplaced struct {
	batch
	explicit []int32 // per record, -1: by hash
}

// hold keeps an event until the partitions are known. Publishing goroutine.
func (t *topic) hold(r *recordbatch.Record, size int, explicit int32, tx uint64) int {
	limit := int(t.limit.Load())
	n := len(t.staged)
	if n == 0 || t.staged[n-1].Len()+size+recordbatch.Overhead > limit {
		t.staged = append(t.staged, &unplaced{})
		n++
	}
	u := t.staged[n-1]
	length := u.Append(r, size)
	u.count(tx, length)
	u.explicit = append(u.explicit, explicit)
	return length
}

// handOver lets the pass's held events take part: they wait, or go to their lanes when these have become known meanwhile.
func (t *topic) handOver(p *Producer) {
	t.dirty = false
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = append(t.waiting, t.staged...)
	t.staged = nil
	if lanes := t.lanes.Load(); lanes != nil {
		t.place(p, *lanes)
	}
}

// open sets the partitions and sends what waited for them.
func (t *topic) open(p *Producer, partitions int) {
	lanes := make([]*lane, partitions)
	for i := range lanes {
		lanes[i] = newLane(t, int32(i), p.id)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.place(p, lanes)
	t.lanes.Store(&lanes)
}

// place moves the waiting events to their lanes, in order. t.mu is held.
func (t *topic) place(p *Producer, lanes []*lane) {
	limit := int(t.limit.Load())
	for _, u := range t.waiting {
		u.each(func(i int, r recordbatch.Raw, tx uint64) {
			n := u.explicit[i]
			if n < 0 {
				rec := r.Record()
				hash := rec.Key
				if hash == nil {
					hash = rec.Headers[0].Value // the id
				}
				n = p.cfg.Partitioner.Partition(hash, int32(len(lanes)))
			}
			if int(n) >= len(lanes) {
				bad := badRecord(t.name, r, partitionError(n, len(lanes)))
				bad.Cure = partitionCure
				p.rejected(tx, bad)
				return
			}
			lanes[n].add(&p.pool, r, tx, limit)
		})
		u.Reset() // its buffer may serve the next one's records already
	}
	t.waiting = nil
	for _, l := range lanes {
		l.mu.Lock()
		wake := l.wake()
		l.mu.Unlock()
		if wake {
			p.route(l)
		}
	}
}

const partitionCure = "correct the column, or add partitions to the topic"

func partitionError(n int32, count int) error {
	return fmt.Errorf("column partition: the topic has no partition %d, only 0 to %d", n, count-1)
}

// add appends a record that waited for its partition.
func (l *lane) add(pool *pool, r recordbatch.Raw, tx uint64, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil && l.open.Len()+r.Len+recordbatch.Overhead > limit {
		l.full = append(l.full, l.open)
		l.open = nil
	}
	if l.open == nil {
		l.open = pool.get()
	}
	l.open.AppendRaw(r)
	l.open.count(tx, r.Len)
}

// find asks for the topic's partitions until they are there, however long that takes, and opens it.
func (t *topic) find(p *Producer) {
	wait := patience{p: p, what: "topic " + t.name, since: time.Now(), said: new(time.Time)}
	for {
		_ = p.client.RefreshMetadata(t.name) // Partitions tells what came of it
		partitions, err := p.client.Partitions(t.name)
		if err == nil && len(partitions) > 0 {
			t.readLimit(p)
			p.metrics.blocked(t.name, 0)
			t.open(p, len(partitions))
			return
		}
		p.metrics.blocked(t.name, time.Since(wait.since))
		if !wait.pause(err) {
			return
		}
	}
}

// readLimit sets the limit of batches to what the topic allows. Without the permission to ask, the configured one stays: the default
// fits into the brokers' default.
func (t *topic) readLimit(p *Producer) bool {
	b := p.client.LeastLoadedBroker()
	if b == nil {
		return false
	}
	const name = "max.message.bytes"
	res, err := b.DescribeConfigs(&sarama.DescribeConfigsRequest{Version: 1, Resources: []*sarama.ConfigResource{
		{Type: sarama.TopicResource, Name: t.name, ConfigNames: []string{name}}}})
	if err != nil {
		return false
	}
	for _, r := range res.Resources {
		for _, c := range r.Configs {
			var n int64
			if _, err := fmt.Sscan(c.Value, &n); c.Name == name && err == nil {
				// A kilobyte for the batch's head, and for what little a codec adds to bytes that do not compress.
				t.limit.Store(max(min(p.cfg.batchLimit(), n-1024), recordbatch.HeadLen+1))
				return true
			}
		}
	}
	return false
}

// shrink answers a batch of so many bytes that was too large for the topic: the limit was lowered under us, or is not ours to read. Then
// batches become smaller by halves; what is refused meanwhile is divided all the same. A batch from before the limit was last lowered,
// or from another lane at the same time, tells nothing new.
func (t *topic) shrink(p *Producer, size int) {
	before := t.limit.Load()
	if int64(size) > before {
		return
	}
	if !t.readLimit(p) || t.limit.Load() >= before {
		t.limit.Store(max(before/2, 16<<10))
	}
}

// appendTopic appends the name of an event's topic: the row's own, else the template's. On an error nothing is appended, no half of a name.
func appendTopic(dst []byte, template schema.Template, ev *schema.Event) ([]byte, error) {
	if name := ev.Values[schema.Topic]; name != nil {
		return append(dst, name...), nil
	}
	name, err := template.Append(dst, ev)
	if err != nil {
		return dst, err
	}
	return name, nil
}

// legalTopic tells whether Kafka takes the name. A produce request does not tell an illegal one from one that is absent.
func legalTopic(name []byte) error {
	if len(name) == 0 || len(name) > 249 || string(name) == "." || string(name) == ".." {
		return errTopicName
	}
	for _, c := range name {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return errTopicName
		}
	}
	return nil
}

var errTopicName = errors.New("a topic name has 1 to 249 characters, each a letter, a digit, a dot, _ or -, and is neither . nor .. itself")
