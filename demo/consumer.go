package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

// service applies every order once, however often Kafka delivers it: it claims
// the event in the transaction that does the work.
type service struct {
	name    string // of its database, its consumer group and its claims
	dsn     string
	brokers []string
	screen  *screen

	table  string // SQL that creates it; it has no unique key, so that an order that is applied twice shows
	apply  string // SQL that applies an order
	effect string // the effect in words
	read   string // SQL that returns the applied orders

	duplicates atomic.Int64 // that were ignored
	condemned  atomic.Bool  // it dies after the next order that it applies
	end        context.CancelFunc
	ended      chan struct{} // closed when the present run has ended
}

func newStock(dsn string, brokers []string, screen *screen) *service {
	return &service{
		name: "stock", dsn: dsn, brokers: brokers, screen: screen,
		table:  `create table deductions (order_id bigint not null, item text not null)`,
		apply:  `insert into deductions (order_id, item) values (@order, @item)`,
		effect: "1 deducted",
		read:   `select order_id from deductions`,
	}
}

func newPoints(dsn string, brokers []string, screen *screen) *service {
	return &service{
		name: "points", dsn: dsn, brokers: brokers, screen: screen,
		table:  `create table points (order_id bigint not null, customer text not null)`,
		apply:  `insert into points (order_id, customer) values (@order, @customer)`,
		effect: "1 granted",
		read:   `select order_id from points`,
	}
}

// start starts the service, which runs until kill, stop or the end of ctx.
func (s *service) start(ctx context.Context, fail context.CancelCauseFunc) {
	ctx, s.end = context.WithCancel(ctx)
	ended := make(chan struct{})
	s.ended = ended
	go func() {
		defer close(ended)
		if err := s.consume(ctx); err != nil && !errors.Is(err, errKilled) {
			fail(fmt.Errorf("%s service: %w", s.name, err))
		}
	}()
}

// stop ends the service between two records, if it runs.
func (s *service) stop() {
	if s.end != nil {
		s.end()
		<-s.ended
	}
}

// kill ends the service at the worst moment: its work is committed, its offset
// is not. It returns false if the show ended before there was such a moment.
func (s *service) kill(show context.Context) bool {
	s.condemned.Store(true)
	select {
	case <-s.ended:
		return true
	case <-show.Done():
	}
	if s.condemned.CompareAndSwap(true, false) {
		return false
	}
	<-s.ended // it is dying already
	return true
}

var errKilled = errors.New("killed")

// consume is one run of the service. It keeps nothing of the last run, and goes
// on from the group's offsets. It uses the same instance id, so that the group
// does not wait for the end of the dead member's session.
func (s *service) consume(ctx context.Context) error {
	db, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	client, err := kgo.NewClient(
		kgo.SeedBrokers(s.brokers...),
		kgo.ConsumeTopics(topic),
		kgo.ConsumerGroup(s.name),
		kgo.InstanceID(s.name),
		kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read topic %s: %w", topic, err)
		}
		for record := range fetches.RecordsAll() {
			if err := s.handle(context.WithoutCancel(ctx), db, record); err != nil {
				return err
			}
		}
		if err := client.CommitUncommittedOffsets(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("commit offsets: %w", err)
		}
	}
}

// handle applies one record, unless it was applied before.
func (s *service) handle(ctx context.Context, db *pgx.Conn, record *kgo.Record) error {
	var o order
	if err := json.Unmarshal(record.Value, &o); err != nil {
		return fmt.Errorf("decode record %s: %w", where(record), err)
	}
	var first bool
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		row := tx.QueryRow(ctx, `select walpost.claim($1, $2)`, s.name, eventID(record))
		if err := row.Scan(&first); err != nil || !first {
			return err
		}
		_, err := tx.Exec(ctx, s.apply, pgx.NamedArgs{"order": o.ID, "item": o.Item, "customer": o.Customer})
		return err
	})
	if err != nil {
		return fmt.Errorf("apply record %s: %w", where(record), err)
	}
	if !first {
		s.duplicates.Add(1)
		s.screen.duplicate(s.name, o, record)
		return nil
	}
	s.screen.applied(s.name, o, record, s.effect)
	if s.condemned.CompareAndSwap(true, false) {
		return errKilled
	}
	return nil
}

// eventID returns the event's id, which is the same in every delivery.
func eventID(record *kgo.Record) string {
	for _, header := range record.Headers {
		if header.Key == "id" {
			return string(header.Value)
		}
	}
	return ""
}

// where returns topic/partition@offset.
func where(record *kgo.Record) string {
	return fmt.Sprintf("%s/%d@%d", record.Topic, record.Partition, record.Offset)
}
