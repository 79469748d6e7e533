package wire

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
)

func init() {
	// sarama times every request with go-metrics, which nothing here reads.
	metrics.UseNilMetrics = true
}

// Version is the version of Kafka's protocol up to which requests are made: all that is used here. Brokers of every later version take it,
// and with others sarama agrees on less.
var Version = sarama.V2_8_0_0

// SaramaConfig returns what sarama's clients and brokers are made with so that the splicer dials their connections. Each has one of its
// own, for sarama writes into it.
func (s *Splicer) SaramaConfig(clientID string, autoCreateTopics bool) (*sarama.Config, error) {
	c := sarama.NewConfig()
	c.ClientID = clientID
	c.Version = Version
	c.Metadata.Full = false // only topics that events go to
	c.Metadata.AllowAutoTopicCreation = autoCreateTopics
	c.Metadata.Retry.Max = 0 // we retry ourselves: sarama's retries for one topic hold up the others
	c.Metadata.RefreshFrequency = 2 * time.Minute
	c.Net.DialTimeout, c.Net.ReadTimeout, c.Net.WriteTimeout = dialTimeout, ReadTimeout, ReadTimeout
	c.Net.MaxOpenRequests = MaxOpenRequests
	c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, s
	c.Producer.RequiredAcks = sarama.WaitForAll
	s.access.ApplySASL(s.ctx, c)
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("kafka configuration: %w", err)
	}
	return c, nil
}

// Connect returns a broker with a connection of its own, logged in. The connections of a client may be in use, or hang.
func Connect(addr string, cfg *sarama.Config) (*sarama.Broker, error) {
	b := sarama.NewBroker(addr)
	if err := b.Open(cfg); err != nil {
		return nil, err
	}
	if _, err := b.Connected(); err != nil { // it waits for the opening; what failed leaves nothing to close
		return nil, err
	}
	return b, nil
}

// ProducerID asks a broker for a producer id.
func ProducerID(b *sarama.Broker) (id int64, epoch int16, err error) {
	res, err := b.InitProducerID(&sarama.InitProducerIDRequest{Version: 2, ProducerID: -1, ProducerEpoch: -1})
	if err != nil {
		return 0, 0, err
	}
	if res.Err != sarama.ErrNoError {
		return 0, 0, res.Err
	}
	return res.ProducerID, res.ProducerEpoch, nil
}

// Leaders asks one broker for the leaders of some topics' partitions, as far as these have any. It returns their ids by topic and partition.
func Leaders(addr string, cfg *sarama.Config, topics []string) (map[string]map[int32]int32, error) {
	b, err := Connect(addr, cfg)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	res, err := b.GetMetadata(sarama.NewMetadataRequest(cfg.Version, topics))
	if err != nil {
		return nil, err
	}
	leaders := map[string]map[int32]int32{}
	for _, t := range res.Topics {
		leaders[t.Name] = map[int32]int32{}
		for _, p := range t.Partitions {
			if p.Err == sarama.ErrNoError && p.Leader >= 0 {
				leaders[t.Name][p.ID] = p.Leader
			}
		}
	}
	return leaders, nil
}
