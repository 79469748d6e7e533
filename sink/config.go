package sink

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"walpost/internal/latencytrace"
	"walpost/schema"
	"walpost/sink/auth"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// DefaultRequestTimeout is the RequestTimeout of a [Config] that sets none.
const DefaultRequestTimeout = wire.DefaultRequestTimeout

// Acks receives a sink's reports. Its methods are called from several goroutines and must not block. Each published event is reported once:
// with Acked after all in-sync replicas have it, or with Rejected if it can never become a record.
type Acks interface {
	// Acked reports that the events that runs count are in Kafka. bytes is the sum of what Publish returned for them. The slice is valid
	// until Acked returns. Events of one lane are acked in the order in which they were published.
	Acked(runs []schema.Run, bytes int)
	// Rejected reports that an event of transaction tx was refused for good. err names the event, the reason and the cure. The event's lane
	// stays stopped from then on.
	Rejected(tx uint64, err error)
}

// Config configures a [Kafka] sink.
type Config struct {
	Brokers  []string // bootstrap.servers
	ClientID string   // client.id
	Security auth.Security
	// Renew returns the settings that new connections use instead of Security. It does not change protocol and mechanism. nil: always
	// Security. It is called for every connection, from any goroutine.
	Renew func() auth.Security

	Codec            recordbatch.Codec // compression.type
	Linger           time.Duration     // linger.ms: how long a batch waits for more events, per broker
	MaxRequestSize   int               // max.request.size: bytes of one request as sent, and of one batch uncompressed
	RequestTimeout   time.Duration     // request.timeout.ms: how long a leader may wait for its followers; 0: DefaultRequestTimeout
	AutoCreateTopics bool              // allow.auto.create.topics
	Partitioner      record.Partitioner

	// Budget is how many bytes the caller lets events in flight hold. If it is set, topics that take no records are parked, see [Parking]; 0:
	// their events wait.
	Budget int

	Record record.Config // how events become records

	Logger     *slog.Logger
	Registerer prometheus.Registerer

	Trace *latencytrace.Recorder // records requests; nil: no trace
}

// batchLimit returns the size in bytes at which a batch is full, unless its topic allows less. A batch of that size fits into
// max.request.size when it is alone in a request, because sealing never makes it larger. A batch of one event may be larger.
func (c *Config) batchLimit() int64 {
	return int64(max(min(c.MaxRequestSize-wire.Overhead(c.ClientID), fullBatch), recordbatch.HeadLen+1))
}

// requestLimit returns the maximum size of a request in bytes, as it is sent. Only a request with a single event may be larger.
func (c *Config) requestLimit() int { return min(c.MaxRequestSize, maxRequest) }

// Limits that follow from Kafka itself.
const (
	// maxRecord is the size of the largest record that is sent at all. socket.request.max.bytes is 100 MiB by default, and a broker closes
	// the connection on a larger request without an answer.
	maxRecord = 100_000_000
	// fullBatch is the size at which a batch is full although max.request.size would let it grow. Larger batches are not faster. It is one
	// of the sizes that buffers have, see package recordbatch.
	fullBatch = 256 << 10
	// maxRequest is the size at which a request is full although max.request.size would let it grow. Larger requests are not faster.
	maxRequest = 4 << 20
	// flowLinger is how long a batch that is not full waits for more events while the relay reports that more are coming. Without it, the
	// small reads between two bursts would become small requests, and a small request costs a broker as much as a large one.
	flowLinger = 5 * time.Millisecond
)

// Times for requests to brokers.
const (
	stuckAfter = 3 * time.Second        // a request without an answer for this long makes us look for another leader
	minBackoff = 5 * time.Millisecond   // first pause before a resend; it doubles each time
	maxBackoff = time.Second            // longest pause: a partition that has a leader again gets its events within two seconds
	warnAfter  = 2 * time.Second        // a wait that ends by itself is logged after this time
	warnEvery  = time.Minute            // how often a wait that only an operator can end is logged
	closeWait  = time.Second            // how long Close waits for goroutines that can no longer report anything
	idBackoff  = 500 * time.Millisecond // longest pause between two attempts to get a producer id
)
