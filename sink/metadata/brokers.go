package metadata

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/wire"
)

// Brokers asks the brokers of a cluster over a connection of its own: those that events go over may be full of requests, and a question
// among them would wait for their answers.
type Brokers struct {
	cfg     sarama.Config
	servers []string
	conn    *sarama.Broker // the one that answered last, nil: none
	cut     func()         // ends conn
}

// answerWait is how long a broker has for an answer before another is asked: a frozen one takes connections, and looks idle.
const answerWait = 3 * time.Second

// NewBrokers returns an [Asker] that begins with the configured servers. cfg comes from the splicer that dials.
func NewBrokers(cfg *sarama.Config, servers []string) *Brokers {
	return &Brokers{cfg: *cfg, servers: servers}
}

// Metadata implements [Asker].
func (b *Brokers) Metadata(ctx context.Context, known []string, topics []string, create bool) (res *sarama.MetadataResponse, err error) {
	err = b.ask(ctx, known, func(conn *sarama.Broker) error {
		req := sarama.NewMetadataRequest(b.cfg.Version, topics)
		req.AllowAutoTopicCreation = create
		res, err = conn.GetMetadata(req)
		return err
	})
	return res, err
}

// MaxMessageBytes implements [Asker].
func (b *Brokers) MaxMessageBytes(ctx context.Context, known []string, topics []string) (map[string]int64, error) {
	const setting = "max.message.bytes"
	limits := map[string]int64{}
	req := &sarama.DescribeConfigsRequest{Version: 1}
	for _, name := range topics {
		req.Resources = append(req.Resources, &sarama.ConfigResource{Type: sarama.TopicResource, Name: name, ConfigNames: []string{setting}})
	}
	err := b.ask(ctx, known, func(conn *sarama.Broker) error {
		res, err := conn.DescribeConfigs(req)
		if errors.Is(err, sarama.ErrUnsupportedVersion) { // it has no such request, which is an answer
			return nil
		}
		if err != nil {
			return err
		}
		for _, r := range res.Resources {
			for _, c := range r.Configs {
				if n, err := strconv.ParseInt(c.Value, 10, 64); err == nil && c.Name == setting {
					limits[r.Name] = n
				}
			}
		}
		return nil
	})
	return limits, err
}

// ask asks the broker that answered last, then the others, until one answers.
func (b *Brokers) ask(ctx context.Context, known []string, question func(*sarama.Broker) error) error {
	var err error
	if b.conn != nil {
		if err = b.put(question); err == nil {
			return nil
		}
	}
	for _, addr := range append(known, b.servers...) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if b.conn, b.cut, err = wire.ConnectWithin(addr, &b.cfg, answerWait); err != nil {
			b.conn = nil
			continue
		}
		if err = b.put(question); err == nil {
			return nil
		}
	}
	return err
}

// put asks the broker that is connected, and leaves it if it does not answer.
func (b *Brokers) put(question func(*sarama.Broker) error) error {
	timer := time.AfterFunc(answerWait, b.cut)
	err := question(b.conn)
	if !timer.Stop() || err != nil {
		b.leave()
	}
	return err
}

// leave closes the connection, whose question has ended.
func (b *Brokers) leave() {
	_ = b.conn.Close()
	b.conn = nil
}

// Close closes the connection. No question is under way.
func (b *Brokers) Close() {
	if b.conn != nil {
		b.leave()
	}
}
