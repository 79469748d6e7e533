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
	// sarama measures every request with go-metrics. Nothing here reads those metrics.
	metrics.UseNilMetrics = true
}

// Version is the version of Kafka's protocol that walpost tells sarama. It covers all requests that are used here, and brokers of every
// later version accept it. With older or other brokers, sarama agrees on lower versions.
var Version = sarama.V2_8_0_0

// SaramaConfig returns a configuration for opening sarama's brokers. With it, the splicer dials their connections.
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

// Connect returns a broker with a new connection, logged in. Other connections to it may be in use, or hang.
func Connect(addr string, cfg *sarama.Config) (*sarama.Broker, error) {
	b := sarama.NewBroker(addr)
	if err := b.Open(cfg); err != nil {
		return nil, err
	}
	if _, err := b.Connected(); err != nil { // this waits until the connection is open; a failed one leaves nothing to close
		return nil, err
	}
	return b, nil
}

// ConnectWithin is [Connect] with a time limit for all of its steps. Without it, a broker that accepts connections and sends nothing would
// cost three time-outs: one for the API versions, one for the same in an older form, and one for the first answer. cut closes the
// connection at any time, and ends what waits for an answer over it.
func ConnectWithin(addr string, cfg *sarama.Config, limit time.Duration) (b *sarama.Broker, cut func(), err error) {
	own := *cfg
	d := &cutDialer{Dialer: cfg.Net.Proxy.Dialer}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	own.Net.Proxy.Dialer = d
	defer time.AfterFunc(limit, d.cut).Stop()
	b, err = Connect(addr, &own)
	return b, d.cut, err
}

// cutDialer keeps the connection that it dialed, so that it can be cut.
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

// AskWithin asks a broker over a new connection, and closes the connection. limit applies once to connecting and once to the question.
func AskWithin(addr string, cfg *sarama.Config, limit time.Duration, question func(*sarama.Broker) error) error {
	b, cut, err := ConnectWithin(addr, cfg, limit)
	if err != nil {
		return err
	}
	defer b.Close()
	defer time.AfterFunc(limit, cut).Stop()
	return question(b)
}

// Answers reports whether a broker answers a simple question over a new connection: which requests it accepts.
func Answers(addr string, cfg *sarama.Config) bool {
	return nil == AskWithin(addr, cfg, ReadTimeout, func(b *sarama.Broker) error {
		_, err := askProduceRange(b)
		return err
	})
}

// TopicSettings asks a broker for the named settings of topics. It returns those that may be read, by topic and name. If the broker does
// not know the request, none may be read, and that is not an error.
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
