package sink

import (
	"strconv"

	"github.com/IBM/sarama"

	"walpost/sink/recordbatch"
)

// readLimit sets the limit of batches to what the topic allows. Without the permission to ask, the configured one stays: the default
// fits into the brokers' default.
func (t *topic) readLimit(p *Producer) bool {
	b := p.client.LeastLoadedBroker()
	if b == nil {
		return false
	}
	const name = "max.message.bytes"
	settings, _ := topicSettings(b, t.name, name)
	n, err := strconv.ParseInt(settings[name], 10, 64)
	if err != nil {
		return false
	}
	// A kilobyte for the batch's head, and for what little a codec adds to bytes that do not compress.
	t.limit.Store(max(min(p.cfg.batchLimit(), n-1024), recordbatch.HeadLen+1))
	return true
}

// topicSettings returns a topic's settings by name, and whether they may be read.
func topicSettings(b *sarama.Broker, topic string, names ...string) (map[string]string, bool) {
	res, err := b.DescribeConfigs(&sarama.DescribeConfigsRequest{Version: 1, Resources: []*sarama.ConfigResource{
		{Type: sarama.TopicResource, Name: topic, ConfigNames: names}}})
	if err != nil {
		return nil, false
	}
	settings := map[string]string{}
	for _, r := range res.Resources {
		for _, c := range r.Configs {
			settings[c.Name] = c.Value
		}
	}
	return settings, len(settings) > 0
}

// shrink lowers the limit after a batch of so many bytes was too large for the topic. The topic's limit is read again. Where it cannot be
// read, batches become smaller by halves. A batch from before the limit was last lowered, or from another lane at the same time, says
// nothing new. What is refused meanwhile is divided in any case.
func (t *topic) shrink(p *Producer, size int) {
	before := t.limit.Load()
	if int64(size) > before {
		return
	}
	if !t.readLimit(p) || t.limit.Load() >= before {
		t.limit.Store(max(before/2, 16<<10))
	}
}

// grow follows a limit that was raised. Where it cannot be read, batches become larger by doubles until one is refused again.
func (t *topic) grow(p *Producer) {
	if before := t.limit.Load(); !t.readLimit(p) {
		t.limit.CompareAndSwap(before, min(2*before, p.cfg.batchLimit()))
	}
}
