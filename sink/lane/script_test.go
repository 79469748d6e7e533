package lane

import (
	"fmt"
	"math/rand/v2"

	"github.com/IBM/sarama"

	"walpost/sink/internal/brokermodel"
	"walpost/sink/internal/sinktest"
	"walpost/sink/recordbatch"
)

// script is a journey that has not been played. Each act is complete in itself, so a script remains valid when acts are dropped.
type script struct {
	rules  brokermodel.Rules
	next   int32 // the sequence of the first event
	limit  int   // of our batches
	unsafe bool  // see journey
	acts   []act
}

// fate is what happens to a request.
type fate struct {
	way      way
	code     sarama.KError // of refusedBefore and answerIsUnclear
	stranded bool          // what is appended does not reach the follower by itself
	stale    bool          // if the lane looks for its leader, it is told the other one
}

type way uint8

const (
	isAnswered      way = iota // by what the partition says
	refusedBefore              // by a code that leaves the log as it is
	neverArrives               // the connection ends first
	arrivesLate                // likewise, and the request is still on its way
	answerIsLost               // the connection ends afterwards
	answerIsUnclear            // a code says that it may have been appended; it was
)

// Codes that come before the append, and codes that may come after it.
var (
	codesBefore = []sarama.KError{sarama.ErrNotLeaderForPartition, sarama.ErrLeaderNotAvailable, sarama.ErrBrokerNotAvailable, sarama.ErrReplicaNotAvailable,
		sarama.ErrFencedLeaderEpoch, sarama.ErrUnknownLeaderEpoch, sarama.ErrNotEnoughReplicas, sarama.ErrThrottlingQuotaExceeded, sarama.ErrConcurrentTransactions,
		sarama.ErrInvalidMessage, sarama.ErrUnknownTopicOrPartition, sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed,
		sarama.ErrPolicyViolation, sarama.ErrUnsupportedCompressionType, sarama.ErrUnsupportedVersion}
	codesAfter = []sarama.KError{sarama.ErrRequestTimedOut, sarama.ErrNotEnoughReplicasAfterAppend, sarama.ErrNetworkException, sarama.ErrKafkaStorageError, sarama.ErrUnknown,
		sarama.ErrNotLeaderForPartition}
)

// act is one thing that happens. do plays it.
type act struct {
	kind actKind
	fate
	n    int   // events of publish, bytes of limit, attempts of outage
	odd  []int // of those events: these have no key
	big  int   // of those events: this one never fits; -1: none
	on   bool  // of compact
	seed uint64
}

type actKind uint8

const (
	publishing actKind = iota // n events, the sender coming once while they are written
	sendHead                  // the sender comes
	outage                    // it comes again and again, and nothing gets through
	land                      // the oldest request that is under way arrives
	setLimit                  // max.message.bytes
	compact                   // cleanup.policy
	catchUp                   // the follower catches up
	moveLead                  // the other broker leads, with what it has of the log
	forgetAll                 // the brokers forget the producers
	makeAnew                  // the topic is deleted and re-created
	takeOver                  // somebody else writes under the lane's producer id, with the next epoch
)

// restLimit is the smallest limit of a partition at the end: it accepts any event alone, except a big one.
const restLimit, bigEvent = 4000, 12_000

func (a act) do(j *journey) {
	p := &j.partition
	switch a.kind {
	case publishing:
		a.publish(j)
	case sendHead:
		j.send(a.fate)
	case outage:
		for range a.n {
			j.send(a.fate)
		}
	case land:
		j.arrive(a.stranded)
	case setLimit:
		p.Limit = a.n
		j.tell("max.message.bytes=%d", a.n)
	case compact:
		p.Compacted = a.on
		j.tell("cleanup.policy=compact: %t", a.on)
	case catchUp:
		p.Replicate()
		j.tell("the follower catches up")
	case moveLead:
		j.moved(p.Move())
	case forgetAll:
		p.Forget()
		j.forgot(forgotten, "the brokers forget all producers")
	case makeAnew:
		p.Recreate()
		j.forgot(recreated, "the topic is re-created")
	case takeOver:
		a.takeOver(j)
	}
}

func (a act) publish(j *journey) {
	r := rand.New(rand.NewPCG(a.seed, 2))
	first := j.tx + 1
	odd := map[int]bool{}
	for _, i := range a.odd {
		odd[i] = true
	}
	during := r.IntN(2 * a.n)
	j.tell("publish %d-%d, without a key %v, large %d, %d bytes a batch", first, first+uint64(a.n)-1, a.odd, a.big, j.limit)
	for i := range a.n {
		rec := &recordbatch.Record{Timestamp: 1000 + r.Int64N(1000), Key: []byte("k"), Value: make([]byte, r.IntN(100))}
		if odd[i] {
			rec.Key = nil
		}
		if i == a.big {
			rec.Value = sinktest.Noise(bigEvent)
		}
		j.write(rec, j.limit)
		if i == during {
			j.send(a.fate)
		}
	}
	j.handOver()
}

func (j *journey) moved(lost []uint64) {
	if j.life == nil {
		j.tell("broker %d leads; without %v", j.partition.Leader, lost)
		return
	}
	how := movedWith
	for _, event := range lost {
		if j.life.first <= event && event <= j.life.last {
			how = movedWithout
		}
	}
	j.life.meet(&j.life.moved, how)
	j.tell("broker %d leads; without %v", j.partition.Leader, lost)
}

func (j *journey) forgot(how happening, what string) {
	j.strange = true
	if j.life != nil {
		j.life.meet(&j.life.state, how)
	}
	j.tell("%s", what)
}

// takeOver fences the lane: a partition accepts a higher epoch from any producer that writes with it.
func (a act) takeOver(j *journey) {
	p := &j.partition
	id := j.lane.id
	if known, ok := p.Epoch(id.Producer); ok {
		id.Epoch = max(id.Epoch, known)
	}
	r := brokermodel.Request{Producer: id.Producer, Epoch: id.Epoch + 1, Events: []uint64{0}, To: p.Leader}
	if o, isNew := p.Produce(r); !isNew {
		j.failf("a new epoch was refused: %v", o.Err)
	}
	p.Replicate()
	j.forgot(fenced, fmt.Sprintf("producer %d writes with epoch %d elsewhere", r.Producer, r.Epoch))
}

func plain(t interface{ Fatal(...any) }) *recordbatch.Encoder { return encoder(t, recordbatch.None) }

// gzip gives visibly other bytes than the bench's encoder.
func gzip(t interface{ Fatal(...any) }) *recordbatch.Encoder { return encoder(t, recordbatch.Gzip) }

func encoder(t interface{ Fatal(...any) }, c recordbatch.Codec) *recordbatch.Encoder {
	e, err := recordbatch.NewEncoder(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
