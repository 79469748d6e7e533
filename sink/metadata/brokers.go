package metadata

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/wire"
)

// Brokers asks the brokers of a cluster over its own connection. The connections for events may be full of requests, and a question among
// those would wait for their answers.
type Brokers struct {
	cfg     sarama.Config
	servers []string
	conn    *sarama.Broker // the broker that answered last; nil: none
	cut     func()         // closes conn
	wait    time.Duration  // how long a broker has for an answer
}

// answerWait is how long a broker has for an answer before another one is asked: a frozen broker still accepts connections, and looks idle.
// The time grows while no broker answers.
const answerWait = 3 * time.Second

// NewBrokers returns an [Asker] that begins with the configured servers. cfg comes from the splicer that dials the connections.
func NewBrokers(cfg *sarama.Config, servers []string) *Brokers {
	return &Brokers{cfg: *cfg, servers: servers, wait: answerWait}
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
	err := b.ask(ctx, known, func(conn *sarama.Broker) error {
		settings, err := wire.TopicSettings(conn, topics, setting)
		for topic, values := range settings {
			if n, err := strconv.ParseInt(values[setting], 10, 64); err == nil {
				limits[topic] = n
			}
		}
		return err
	})
	return limits, err
}

// ask asks the broker that answered last, and then the others, until one answers.
func (b *Brokers) ask(ctx context.Context, known []string, question func(*sarama.Broker) error) error {
	var err error
	tried := map[string]bool{}
	if b.conn != nil {
		tried[b.conn.Addr()] = true
		if err = b.askConnected(question); err == nil {
			return nil
		}
	}
	for _, addr := range append(known, b.servers...) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case tried[addr]:
			continue
		}
		tried[addr] = true
		began := time.Now()
		if b.conn, b.cut, err = wire.ConnectWithin(addr, &b.cfg, b.wait); err != nil {
			b.conn, err = nil, b.named(addr, began, err)
			continue
		}
		if err = b.askConnected(question); err == nil {
			return nil
		}
	}
	b.wait = min(2*b.wait, wire.ReadTimeout) // the cluster may be slow
	return err
}

// askConnected asks the connected broker, and disconnects from it if it does not answer.
func (b *Brokers) askConnected(question func(*sarama.Broker) error) error {
	addr, began := b.conn.Addr(), time.Now()
	timer := time.AfterFunc(b.wait, b.cut)
	err := question(b.conn)
	if !timer.Stop() || err != nil {
		b.disconnect()
	}
	if err == nil {
		b.wait = answerWait
		return nil
	}
	return b.named(addr, began, err)
}

// named adds to an error that the question was cut off, if it was.
func (b *Brokers) named(addr string, began time.Time, err error) error {
	if took := time.Since(began); took >= b.wait {
		return fmt.Errorf("broker %s has not answered within %v: %w", addr, b.wait, err)
	}
	return err
}

// disconnect closes the connection. No question is under way.
func (b *Brokers) disconnect() {
	_ = b.conn.Close()
	b.conn = nil
}

// Close closes the connection. It must not be called while a question is under way.
func (b *Brokers) Close() {
	if b.conn != nil {
		b.disconnect()
	}
}
