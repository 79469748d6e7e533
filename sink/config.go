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

// Acks is what a sink reports to. Its methods are called from several goroutines and must not block. Each published event is reported
// once: with Acked after all in-sync replicas have it, or with Rejected when it never can become a record.
type Acks interface {
	// Acked says that the events that runs count are in Kafka, bytes being what Publish returned for them altogether. The slice is
	// valid until Acked returns. Events of one lane are acked in the order in which they were published.
	Acked(runs []schema.Run, bytes int)
	// Rejected says that an event of transaction tx was refused for good. err names the event, the reason and the cure. Its lane
	// stands still from then on.
	Rejected(tx uint64, err error)
}

// Config is how a [Kafka] sink works.
type Config struct {
	Brokers  []string // bootstrap.servers
	ClientID string   // client.id
	Security auth.Security
	// Renew returns what new connections are to use instead of Security, whose protocol and mechanism it leaves; nil: always Security. It
	// is called from any goroutine, for every connection.
	Renew func() auth.Security

	Codec            recordbatch.Codec // compression.type
	Linger           time.Duration     // linger.ms: collected per broker
	MaxRequestSize   int               // max.request.size: bytes of one request as sent, and of one batch uncompressed
	RequestTimeout   time.Duration     // request.timeout.ms: how long a leader may wait for its followers; 0: DefaultRequestTimeout
	AutoCreateTopics bool              // allow.auto.create.topics
	Partitioner      record.Partitioner

	Record record.Config // what events become

	Logger     *slog.Logger
	Registerer prometheus.Registerer

	Trace *latencytrace.Recorder // where requests are recorded; nil: nowhere
}

// batchLimit is where a batch is full, in bytes, as long as its topic allows it: alone in a request it fits into max.request.size, for it
// never gets larger by being sealed. A batch of one event may be larger.
func (c *Config) batchLimit() int64 {
	return int64(max(min(c.MaxRequestSize-wire.Overhead(c.ClientID), fullBatch), recordbatch.HeadLen+1))
}

// requestLimit is the most bytes of a request as it is sent, unless it has one event alone.
func (c *Config) requestLimit() int { return min(c.MaxRequestSize, maxRequest) }

// Limits that follow from Kafka itself.
const (
	// maxRecord is the largest record that is tried at all: socket.request.max.bytes is 100 MiB by default, and a request beyond it
	// ends the connection without an answer.
	maxRecord = 100_000_000
	// fullBatch is where a batch is full although max.request.size would let it grow. Larger ones are not faster. It is a size that buffers
	// have, see package recordbatch.
	fullBatch = 256 << 10
	// maxRequest is where a request is full although max.request.size would let it grow. Larger ones are not faster.
	maxRequest = 4 << 20
	// flowLinger is how long batches that are not full wait for more while the relay says that more is to come. Without it the small
	// reads between two surges would become small requests, each of which costs a broker as much as a large one.
	flowLinger = 5 * time.Millisecond
)

// Times of the way to a broker.
const (
	stuckAfter = 3 * time.Second        // a request unanswered for so long makes us look for another leader
	minBackoff = 5 * time.Millisecond   // first wait before a resend, doubled each time
	maxBackoff = time.Second            // last: a partition that has a leader again gets its events within two
	warnAfter  = 2 * time.Second        // a wait that time cures is logged from here on
	warnEvery  = time.Minute            // how often a wait that only an operator can end is logged
	closeWait  = time.Second            // how long Close waits for what cannot report any more
	idBackoff  = 500 * time.Millisecond // most that passes between two attempts to get a producer id
)
