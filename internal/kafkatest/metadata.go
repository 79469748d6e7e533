package kafkatest

import (
	"time"

	"github.com/IBM/sarama"
)

// config returns the configuration of clients for administration. It asks for full metadata, which sarama's ClusterAdmin needs.
func config() *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = "walpost-test"
	c.Version = sarama.MaxVersion
	c.Net.DialTimeout = 5 * time.Second
	c.Net.ReadTimeout = 10 * time.Second
	c.Metadata.Full = true
	c.Metadata.AllowAutoTopicCreation = false
	return c
}

// ask asks one broker for its own view of the topics (nil: all). A client would ask any broker.
func ask(address string, topics []string) (*sarama.MetadataResponse, error) {
	broker, err := dial(address)
	if err != nil {
		return nil, err
	}
	defer broker.Close()
	return broker.GetMetadata(sarama.NewMetadataRequest(sarama.MaxVersion, topics))
}

// dial connects to one broker.
func dial(address string) (*sarama.Broker, error) {
	broker := sarama.NewBroker(address)
	return broker, broker.Open(config())
}
