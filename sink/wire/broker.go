package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
	"golang.org/x/net/proxy"
)

func init() {
	// sarama times every request with go-metrics, which nothing here reads.
	metrics.UseNilMetrics = true
}

// Version is the version of Kafka's protocol up to which requests are made: all that is used here. Brokers of every later version take it,
// and with others sarama agrees on less.
var Version = sarama.V2_8_0_0

// SaramaConfig returns what sarama's brokers are opened with so that the splicer dials their connections.
func (s *Splicer) SaramaConfig(clientID string) (*sarama.Config, error) {
	c := sarama.NewConfig()
	c.ClientID = clientID
	c.Version = Version
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

// ConnectWithin is [Connect] with a limit for all of it. A broker that takes connections and says nothing would be waited for three times:
// for the versions that it knows, for the same in an older form, and for the first answer. cut ends the connection at any time, and with it
// what waits for an answer.
func ConnectWithin(addr string, cfg *sarama.Config, limit time.Duration) (b *sarama.Broker, cut func(), err error) {
	own := *cfg
	d := &cutDialer{Dialer: cfg.Net.Proxy.Dialer}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	own.Net.Proxy.Dialer = d
	defer time.AfterFunc(limit, d.cut).Stop()
	b, err = Connect(addr, &own)
	return b, d.cut, err
}

// cutDialer remembers the connection that it dialed, to cut it.
type cutDialer struct {
	proxy.Dialer
	ctx    context.Context // done once cut
	cancel context.CancelFunc
	mu     sync.Mutex
	conn   net.Conn
}

func (d *cutDialer) Dial(network, addr string) (conn net.Conn, err error) {
	if with, ok := d.Dialer.(proxy.ContextDialer); ok {
		conn, err = with.DialContext(d.ctx, network, addr)
	} else {
		conn, err = d.Dialer.Dial(network, addr)
	}
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		_ = conn.Close()
		return nil, os.ErrDeadlineExceeded
	}
	d.conn = conn
	return conn, nil
}

func (d *cutDialer) cut() {
	d.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		_ = d.conn.Close()
	}
}

// AskWithin asks a broker over a connection of its own, and closes that. The limit is one for connecting and one for the question.
func AskWithin(addr string, cfg *sarama.Config, limit time.Duration, question func(*sarama.Broker) error) error {
	b, cut, err := ConnectWithin(addr, cfg, limit)
	if err != nil {
		return err
	}
	defer b.Close()
	defer time.AfterFunc(limit, cut).Stop()
	return question(b)
}

// Answers reports whether a broker answers a plain question over a connection of its own: which requests it takes.
func Answers(addr string, cfg *sarama.Config) bool {
	return nil == AskWithin(addr, cfg, ReadTimeout, func(b *sarama.Broker) error {
		_, err := askProduceRange(b)
		return err
	})
}

// TopicSettings asks a broker for settings of topics by name. It returns those that may be read, by topic and name. A broker that does not know
// the request has answered by that: none may be read.
func TopicSettings(b *sarama.Broker, topics []string, names ...string) (map[string]map[string]string, error) {
	req := &sarama.DescribeConfigsRequest{Version: 1}
	for _, topic := range topics {
		req.Resources = append(req.Resources, &sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: names})
	}
	res, err := b.DescribeConfigs(req)
	if errors.Is(err, sarama.ErrUnsupportedVersion) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	settings := map[string]map[string]string{}
	for _, r := range res.Resources {
		settings[r.Name] = map[string]string{}
		for _, c := range r.Configs {
			settings[r.Name][c.Name] = c.Value
		}
	}
	return settings, nil
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
