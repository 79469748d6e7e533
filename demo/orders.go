package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const shopDatabase = "shop"

const ordersTable = `
create table orders (
  id       bigint generated always as identity primary key,
  customer text not null,
  item     text not null
)`

// order is one piece of an item for one customer. It is also the payload of its
// event.
type order struct {
	ID       int64  `json:"order"`
	Customer string `json:"customer"`
	Item     string `json:"item"`
	Letter   string `json:"letter,omitempty"` // that comes with a gift
}

// insert writes the order and sets its number.
func (o *order) insert(ctx context.Context, tx pgx.Tx) error {
	return tx.QueryRow(ctx,
		`insert into orders (customer, item) values ($1, $2) returning id`,
		o.Customer, o.Item).Scan(&o.ID)
}

// announce writes the event. Its key is the customer, so that the orders of a
// customer arrive in order.
func (o *order) announce(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx,
		`insert into walpost.outbox (aggregatetype, aggregateid, type, payload) values ('order', $1, 'OrderPlaced', $2)`,
		o.Customer, o)
	return err
}

// orderService places orders, one at a time.
type orderService struct {
	dsn    string
	db     *pgx.Conn
	screen *screen

	mu   sync.Mutex
	void map[int64]string // orders that were not committed, and why
}

func openShop(ctx context.Context, dsn string, screen *screen) (*orderService, error) {
	db, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("open the shop: %w", err)
	}
	return &orderService{dsn: dsn, db: db, screen: screen, void: map[int64]string{}}, nil
}

func (s *orderService) close() { _ = s.db.Close(context.Background()) }

// start places orders until the show ends. Then it closes the channel.
func (s *orderService) start(show context.Context, fail context.CancelCauseFunc) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.run(show); err != nil {
			fail(fmt.Errorf("place an order: %w", err))
		}
	}()
	return ended
}

// run places five orders a second. It finishes the current order when the show
// ends. Every sixth payment is declined.
func (s *orderService) run(show context.Context) error {
	customers := []string{"ada", "grace", "edsger", "barbara", "tony"}
	items := []string{"tea", "coffee", "cocoa"}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-show.Done():
			return nil
		case <-tick.C:
		}
		o := order{Customer: customers[n%len(customers)], Item: items[n%len(items)]}
		if err := s.place(context.WithoutCancel(show), s.db, o, n%6 != 0); err != nil {
			return err
		}
	}
}

var errDeclined = errors.New("payment declined")

// place writes an order and its event in one transaction: both are committed, or
// neither is.
func (s *orderService) place(ctx context.Context, db *pgx.Conn, o order, paid bool) error {
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if err := o.insert(ctx, tx); err != nil {
			return err
		}
		if err := o.announce(ctx, tx); err != nil {
			return err
		}
		if !paid {
			return errDeclined // so BeginFunc rolls back
		}
		return nil
	})
	if errors.Is(err, errDeclined) {
		s.avoid(o, "rolled back")
		return nil
	}
	if err == nil {
		s.screen.order(o, "committed")
	}
	return err
}

// placeLarge places an order whose event is larger than letterLimit.
func (s *orderService) placeLarge(ctx context.Context) error {
	db, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return fmt.Errorf("place a large order: %w", err)
	}
	defer db.Close(context.WithoutCancel(ctx))
	letter := make([]byte, 4*letterLimit)
	_, _ = rand.Read(letter) // it never fails, and hardly anything can compress the result
	return s.place(ctx, db, order{Customer: "ada", Item: "a gift", Letter: hex.EncodeToString(letter)}, true)
}

// avoid records an order that must have no effect.
func (s *orderService) avoid(o order, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.void[o.ID] = why
	s.screen.void(o, why)
}

// voided returns a copy of these orders.
func (s *orderService) voided() map[int64]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.void)
}
