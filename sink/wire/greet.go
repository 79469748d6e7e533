package wire

import (
	"github.com/IBM/sarama"
)

// Greeting is what a broker told over a connection before the first produce request. It is valid only for that connection: the same address
// may lead to another version tomorrow, or to another cluster.
type Greeting struct {
	version int16
	Cluster string // the cluster's id; "": the broker does not tell it
}

// Greet asks a broker which produce requests it accepts, and which cluster it belongs to. The broker must be connected. It returns a
// [*Mismatch] if no batch can be sent to the broker. With zstd, it also returns one if no batch with zstd can be sent.
func Greet(b *sarama.Broker, zstd bool) (Greeting, error) {
	r, err := askProduceRange(b)
	if err != nil {
		return Greeting{}, err
	}
	if err := r.mismatch(b.Addr(), zstd); err != nil {
		return Greeting{}, err
	}
	cluster, err := clusterID(b)
	return Greeting{r.version(), cluster}, err
}

// clusterID asks for the id of a broker's cluster. DescribeCluster is the request for this, but brokers that are not Apache Kafka do not
// know it. The answer to a question about a topic also contains the id, whether the topic exists or not.
func clusterID(b *sarama.Broker) (string, error) {
	res, err := b.GetMetadata(sarama.NewMetadataRequest(Version, []string{"walpost"}))
	if err != nil || res.ClusterID == nil {
		return "", err
	}
	return *res.ClusterID, nil
}
