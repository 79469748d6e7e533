package sink

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/testenv/need"
	"walpost/sink/auth"
	"walpost/sink/internal/sinktest"
)

// produceVersion is the version of the produce requests that are sent.
const produceVersion = 8

// scripted is a broker whose answers a test chooses. It decodes requests with sarama's own decoder, and ends the test if that fails.
type scripted struct {
	*sarama.MockBroker
	t       testing.TB
	answers map[string]sarama.MockResponse
}

// newScripted returns a broker that leads the partitions of one topic and accepts everything.
func newScripted(t testing.TB, topic string, partitions int32) *scripted {
	b := &scripted{sarama.NewMockBroker(t, 1), t, map[string]sarama.MockResponse{}}
	t.Cleanup(b.Close)
	meta := sarama.NewMockMetadataResponse(t).SetBroker(b.Addr(), 1).SetController(1)
	for n := range partitions {
		meta.SetLeader(topic, n, 1)
	}
	b.answers["ApiVersionsRequest"] = apiVersions(t, produceVersion)
	b.answers["MetadataRequest"] = meta
	b.answers["DescribeConfigsRequest"] = sarama.NewMockDescribeConfigsResponse(t)
	b.answers["InitProducerIDRequest"] = sarama.NewMockInitProducerIDResponse(t).SetProducerID(1)
	b.answer("ProduceRequest", produceAnswer(t))
	return b
}

// apiVersions offers what a producer needs: Produce, Metadata, the SASL pair, InitProducerId, DescribeConfigs.
func apiVersions(t testing.TB, produce int16) *sarama.MockApiVersionsResponse {
	return apiVersionsFrom(t, 0, produce)
}

func apiVersionsFrom(t testing.TB, oldest, newest int16) *sarama.MockApiVersionsResponse {
	keys := []sarama.ApiVersionsResponseKey{{ApiKey: 0, MinVersion: oldest, MaxVersion: newest}}
	for key, highest := range map[int16]int16{3: 9, 18: 0, 17: 1, 36: 1, 22: 2, 32: 1} {
		keys = append(keys, sarama.ApiVersionsResponseKey{ApiKey: key, MinVersion: 0, MaxVersion: highest})
	}
	return sarama.NewMockApiVersionsResponse(t).SetApiKeys(keys)
}

func produceAnswer(t testing.TB) *sarama.MockProduceResponse {
	return sarama.NewMockProduceResponse(t).SetVersion(produceVersion)
}

// answer changes how requests of a kind are answered from now on.
func (b *scripted) answer(request string, r sarama.MockResponse) {
	b.answers[request] = r
	answers := map[string]sarama.MockResponse{}
	for k, v := range b.answers {
		answers[k] = v
	}
	b.SetHandlerByMap(answers)
}

// asked returns the number of requests of a kind so far.
func asked[R any](b *scripted) (n int) {
	for _, r := range b.History() {
		if _, ok := r.Request.(R); ok {
			n++
		}
	}
	return n
}

// until polls until a condition holds.
func until(t testing.TB, what string, fact func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(need.Patience())
	for !fact() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func (l *logLines) says(parts ...string) func() bool {
	return func() bool {
		return slices.ContainsFunc(l.all(), func(line string) bool {
			return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
		})
	}
}

// openLogged opens a producer, and returns its log too.
func openLogged(t *testing.T, servers []string) (*Producer, *ledger, *logLines) {
	t.Helper()
	log, acks := new(logLines), newLedger()
	cfg := config(t, servers)
	cfg.Logger = log.logger()
	return open(t, cfg, acks), acks, log
}

// openFlowing opens a producer of topic orders, and waits until event 0, of key k, is acknowledged.
func openFlowing(t *testing.T, partitions int32, acks interface {
	Acks
	wait(t testing.TB, acked, rejected int)
}) (*scripted, *Producer) {
	t.Helper()
	b := newScripted(t, "orders", partitions)
	p := open(t, config(t, []string{b.Addr()}), acks)
	publish(t, p, event("orders", "k", 0), 0)
	p.Flush(false)
	acks.wait(t, 1, 0)
	return b, p
}

// refusedLogin opens a producer and waits until its first event is acknowledged. From then on its login is refused. Its password is
// secret-of-u.
func refusedLogin(t *testing.T) (*scripted, *Producer, *ledger, *logLines) {
	t.Helper()
	b := newScripted(t, "orders", 1)
	b.answer("SaslHandshakeRequest", sarama.NewMockSaslHandshakeResponse(t).SetEnabledMechanisms([]string{sarama.SASLTypePlaintext}))
	b.answer("SaslAuthenticateRequest", sarama.NewMockSaslAuthenticateResponse(t))
	log, acks := new(logLines), newLedger()
	cfg := config(t, []string{b.Addr()})
	cfg.Logger = log.logger()
	cfg.Security = auth.Security{Protocol: "SASL_PLAINTEXT", Mechanism: "PLAIN", Username: "u", Password: "secret-of-u"}
	p := open(t, cfg, acks)
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	acks.wait(t, 1, 0)
	b.answer("SaslAuthenticateRequest", sarama.NewMockSaslAuthenticateResponse(t).SetError(sarama.ErrSASLAuthenticationFailed))
	return b, p, acks, log
}

// If a partition refuses every new producer id, there is a pause between the attempts. When it accepts one, events flow.
func TestRenewPauses(t *testing.T) {
	t.Parallel()
	b := newScripted(t, "orders", 1)
	b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, sarama.ErrOutOfOrderSequenceNumber))
	acks := newLedger()
	p := open(t, config(t, []string{b.Addr()}), acks)
	begin := time.Now()
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	const renewals = 8
	until(t, "eight renewals", func() bool { return asked[*sarama.InitProducerIDRequest](b) > renewals })
	least := time.Duration(0)
	for tries := 1; tries < renewals; tries++ {
		least += minBackoff << (tries - 1) * 3 / 4
	}
	if took := time.Since(begin); took < least {
		t.Errorf("%d producer ids were taken in %v, want at least %v", renewals, took, least)
	}
	b.answer("ProduceRequest", produceAnswer(t))
	acks.wait(t, 1, 0)
}

// Passwords are rotated while relays run. So a login that is refused after the start is tried again, and the log says so.
func TestRenewOutlastsARefusedLogin(t *testing.T) {
	b, p, acks, log := refusedLogin(t)
	b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, sarama.ErrUnknownProducerID))
	publish(t, p, event("orders", "k", 2), 2)
	p.Flush(false)
	until(t, "a warning", log.says("waiting for partition 0 of topic orders", "SASL Authentication failed"))
	b.answer("ProduceRequest", produceAnswer(t))
	b.answer("SaslAuthenticateRequest", sarama.NewMockSaslAuthenticateResponse(t))
	acks.wait(t, 2, 0)
	if log.says("secret-of-u")() {
		t.Error("the log has the password")
	}
}

// An error that an operator can cure is logged at once, with the cure, and the events wait.
func TestAlarm(t *testing.T) {
	t.Parallel()
	for code, cure := range map[sarama.KError]string{
		sarama.ErrTopicAuthorizationFailed:   "kafka-acls.sh --add --allow-principal User:NAME --producer --topic orders",
		sarama.ErrClusterAuthorizationFailed: "IdempotentWrite",
		sarama.ErrUnknownTopicOrPartition:    "kafka-topics.sh --create",
	} {
		b := newScripted(t, "orders", 2)
		b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, code))
		p, acks, log := openLogged(t, []string{b.Addr()})
		for i := range 20 {
			publish(t, p, event("orders", string(rune('a'+i)), i), uint64(i))
		}
		p.Flush(false)
		until(t, "a warning", log.says("waiting for partition 0 of topic orders", cure))
		until(t, "seven attempts", func() bool { return asked[*sarama.ProduceRequest](b) > 7 })
		if n := log.count("waiting for partition 0"); n != 1 {
			t.Errorf("%v: %d warnings within a second", code, n)
		}
		if _, rejected := acks.total(); rejected > 0 {
			t.Errorf("%v: %d events rejected", code, rejected)
		}
		b.answer("ProduceRequest", produceAnswer(t))
		acks.wait(t, 20, 0)
	}
}

// If an answer leaves a partition out, the partition has no answer.
func TestAnswerWithoutThePartition(t *testing.T) {
	b := newScripted(t, "orders", 1)
	b.answer("ProduceRequest", sarama.NewMockWrapper(&sarama.ProduceResponse{Version: produceVersion}))
	acks := newLedger()
	p := open(t, config(t, []string{b.Addr()}), acks)
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	until(t, "a resend", func() bool { return asked[*sarama.ProduceRequest](b) > 2 })
	if len(acks.order) > 0 {
		t.Error("acked without an answer")
	}
	b.answer("ProduceRequest", produceAnswer(t))
	acks.wait(t, 1, 0)
}

// A peer that accepts connections and never answers does not prevent Open from ending with its context.
func TestOpenEndsWithItsContext(t *testing.T) {
	l := sinktest.SilentListener(t)
	k, err := NewKafka(config(t, []string{l}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := k.Open(ctx, newLedger()); err == nil || time.Since(begin) > 3*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

// If the topic's limit cannot be read, it is halved. Several lanes that report the same size halve it once.
func TestShrink(t *testing.T) {
	p, _ := offline(t, config(t, nil), newLedger())
	topic := &topic{name: "t"}
	topic.limit.Store(1_000_000)
	for _, step := range []struct {
		size int
		want int64
	}{{1_000_000, 500_000}, {1_000_000, 500_000}, {900_000, 500_000}, {500_001, 500_000}, {400_000, 250_000}, {250_000, 125_000}, {17_000, 62_500},
		{20_000, 31_250}, {20_000, 16 << 10}, {100, 16 << 10}} {
		if topic.shrink(p, step.size); topic.limit.Load() != step.want {
			t.Errorf("after a batch of %d bytes the limit is %d, want %d", step.size, topic.limit.Load(), step.want)
		}
	}
}

// A request contains each topic once, whatever the order in which its lanes came: a broker may read topics into a map.
func TestRequestNamesATopicOnce(t *testing.T) {
	b := newScripted(t, "t0", 4)
	meta := b.answers["MetadataRequest"].(*sarama.MockMetadataResponse)
	for _, name := range []string{"t1", "t2"} {
		for n := range int32(4) {
			meta.SetLeader(name, n, 1)
		}
	}
	b.answer("MetadataRequest", meta)
	acks := newLedger()
	cfg := config(t, []string{b.Addr()})
	p := open(t, cfg, acks)
	const events = 1200
	for i := range events {
		publish(t, p, event("t"+string(rune('0'+i%3)), string(rune('a'+i/3%20)), i), uint64(i))
		if i < 3 || i%100 == 99 {
			p.Flush(false)
			acks.wait(t, i+1, 0)
		}
	}
	if n, _ := sample(t, cfg, "walpost_retries_total"); n != 0 {
		t.Errorf("%v batches were sent again", n)
	}
	if n := asked[*sarama.ProduceRequest](b); n > 60 {
		t.Errorf("%d requests", n)
	}
}
