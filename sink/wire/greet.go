package wire

import (
	"github.com/IBM/sarama"
)

// Greeting is what a broker told over a connection before the first produce request. It holds for that connection only: behind the same
// address there may be another version tomorrow, and another cluster.
type Greeting struct {
	version int16
	Cluster string // the cluster's id; "": the broker does not tell
}

// Greet asks a broker which produce requests it takes and which cluster it belongs to. The connection has to be there. It returns a
// [*Mismatch] if no batch can be sent to the broker, and one of zstd if that is asked about.
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

// clusterID asks for the id of a broker's cluster. DescribeCluster would be the request for it, and brokers of other makes do not know that
// one. An answer about a topic has it too, whether there is such a topic or not.
func clusterID(b *sarama.Broker) (string, error) {
	res, err := b.GetMetadata(sarama.NewMetadataRequest(Version, []string{"walpost"}))
	if err != nil || res.ClusterID == nil {
		return "", err
	}
	return *res.ClusterID, nil
}
