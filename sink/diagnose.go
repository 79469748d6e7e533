package sink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/diagnosis"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// Diagnose checks what a [Producer] needs. It does not stop at the first problem. It checks:
//
//   - each bootstrap server, with TLS and login as configured,
//   - the versions of produce requests that brokers accept,
//   - the right to produce idempotently,
//   - every broker, at the address that the cluster gives for it,
//   - the topics: the one that the template names, if that is always the same, and those of the arguments.
//
// It writes nothing and creates nothing. Like every producer that opens, it gets a producer id. It returns when it has asked everything or
// when ctx ends. It may be called while producers are open.
func (k *Kafka) Diagnose(ctx context.Context, topics ...string) []diagnosis.Finding {
	s := wire.NewSplicer(k.access)
	defer s.Close()
	defer context.AfterFunc(ctx, s.Close)()
	d := &diagnosing{k: k, splicer: s, list: diagnosis.List{Target: "kafka"}}
	b := d.bootstrap()
	if b == nil {
		return d.list.Findings
	}
	defer b.Close()
	if !d.producerID(b) {
		return d.list.Findings
	}
	d.brokers(b)
	if name, always := k.cfg.Record.Topic.Constant(); always {
		topics = append([]string{name}, topics...)
	}
	if len(topics) == 0 {
		d.list.OK("topic", "no topic to check: rows name their topics, by %s", k.cfg.Record.Topic)
		return d.list.Findings
	}
	d.topics(b, topics)
	return d.list.Findings
}

// diagnosing is one run of Diagnose.
type diagnosing struct {
	k       *Kafka
	splicer *wire.Splicer
	list    diagnosis.List
}

// connect opens a connection and logs in.
func (d *diagnosing) connect(addr string) (*sarama.Broker, error) {
	cfg, err := d.splicer.SaramaConfig(d.k.cfg.ClientID) // a copy of its own, because sarama writes into it
	if err != nil {
		return nil, err
	}
	b, err := wire.Connect(addr, cfg)
	if err != nil {
		return nil, d.splicer.CheckListener(addr, err)
	}
	return b, nil
}

// connectAll connects to all addresses at the same time, so that dead ones cost one time-out together.
func (d *diagnosing) connectAll(addrs []string) ([]*sarama.Broker, []error) {
	brokers, errs := make([]*sarama.Broker, len(addrs)), make([]error, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() { brokers[i], errs[i] = d.connect(addr) })
	}
	wg.Wait()
	return brokers, errs
}

// bootstrap checks the configured servers. It returns a connection to one of them, or nil if none can be reached.
func (d *diagnosing) bootstrap() (first *sarama.Broker) {
	addrs := d.k.cfg.Brokers
	brokers, errs := d.connectAll(addrs)
	for _, b := range brokers {
		switch {
		case b != nil && first == nil:
			first = b
		case b != nil:
			b.Close()
		}
	}
	for i, err := range errs {
		switch {
		case err == nil:
			d.list.OK("bootstrap", "connected to %s, %s", addrs[i], d.protocol())
		case first != nil: // the others are enough, as long as they are up
			d.list.Add("bootstrap", diagnosis.Warning, fmt.Sprintf("connect to Kafka at %s: %v", addrs[i], err), d.cure(err))
		default:
			d.list.Add("bootstrap", diagnosis.Failed, fmt.Sprintf("connect to Kafka at %s: %v", addrs[i], err), d.cure(err))
		}
	}
	return first
}

// cure returns the same cure that producers log.
func (d *diagnosing) cure(err error) string {
	if permanent(err) {
		return d.k.cfg.refusalCure(err)
	}
	return d.k.cfg.withNames(waitCure(err), "")
}

// protocol describes the protocol and the login.
func (d *diagnosing) protocol() string {
	s := d.k.cfg.Security
	text := "security.protocol " + max(s.Protocol, "PLAINTEXT")
	if s.SASL() {
		text += ", logged in by " + s.Mechanism
	}
	return text
}

// idWait is how long a broker may need for the first producer ids after its start.
const idWait = 5 * time.Second

// producerID asks for a producer id, which every producer needs first. It reports whether the broker answers at all.
func (d *diagnosing) producerID(b *sarama.Broker) bool {
	const check = "producer_id"
	d.produce(b)
	_, _, err := wire.ProducerID(b)
	for began := time.Now(); errors.Is(err, sarama.ErrOffsetsLoadInProgress) && time.Since(began) < idWait; {
		select {
		case <-d.splicer.Done():
			return false
		case <-time.After(idBackoff):
			_, _, err = wire.ProducerID(b)
		}
	}
	if err != nil { // brokers that require a login say so only after the first request
		err = d.splicer.CheckListener(b.Addr(), err)
		d.list.Add(check, diagnosis.Failed, fmt.Sprintf("%s gives no producer id: %v", b.Addr(), err), d.cure(err))
		return errors.As(err, new(sarama.KError))
	}
	d.list.OK(check, "%s gives producer ids: events may be sent idempotently", b.Addr())
	return true
}

// produce checks whether batches can be sent to a broker. It returns false only if they certainly cannot.
func (d *diagnosing) produce(b *sarama.Broker) bool {
	err := wire.CheckProduce(b, d.k.cfg.Codec == recordbatch.Zstd)
	if m := (*wire.Mismatch)(nil); errors.As(err, &m) {
		d.list.Add("produce", diagnosis.Failed, m.Error(), m.Cure)
		return false
	}
	return true
}

// brokers connects to every broker at the address that the cluster gives for it, because events go there.
func (d *diagnosing) brokers(b *sarama.Broker) {
	const check = "brokers"
	res, err := b.DescribeCluster(&sarama.DescribeClusterRequest{})
	if err == nil && res.Err != sarama.ErrNoError {
		err = res.Err
	}
	if err != nil {
		d.list.Add(check, diagnosis.Warning, fmt.Sprintf("%s does not list the cluster's brokers: %v", b.Addr(), err), "nothing needs to be done if this is not Apache Kafka; but then walpost has not checked that it can reach the addresses that the brokers advertise")
		return
	}
	var addrs []string
	for _, one := range res.Brokers {
		addrs = append(addrs, net.JoinHostPort(one.Host, strconv.Itoa(int(one.Port))))
	}
	brokers, errs := d.connectAll(addrs)
	reached := 0
	for i, one := range brokers {
		if one != nil {
			if addrs[i] == b.Addr() || d.produce(one) { // b was checked before
				reached++
			}
			one.Close()
			continue
		}
		d.list.Add(check, diagnosis.Failed, fmt.Sprintf("connect to broker %d at its advertised address %s: %v", res.Brokers[i].BrokerID, addrs[i], errs[i]),
			"make this address reachable from here, or set advertised.listeners of broker "+strconv.Itoa(int(res.Brokers[i].BrokerID))+" to one that is")
	}
	if reached == len(brokers) {
		d.list.OK(check, "%d in cluster %s, each reached at its advertised address: %s", reached, res.ClusterID, strings.Join(addrs, ", "))
	}
}
