package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walpost/internal/pgtest"
	"walpost/internal/testenv/child"
)

// patience bounds every wait for a fact. It is long for the sake of busy
// machines; on an idle one nothing here takes two seconds.
const patience = 60 * time.Second

// scene has everything that takes part in the demo.
type scene struct {
	screen   *screen
	home     *child.Home // a temporary folder, and the relay's process
	postgres *pgtest.Server
	broker   *broker
	relay    *relay
	orders   *orderService
	stock    *service
	points   *service
	services []*service // both
}

// setScene starts the servers and builds the relay. The scene must be closed,
// also after an error.
func setScene(ctx context.Context, screen *screen) (s *scene, err error) {
	s = &scene{screen: screen}
	screen.say("starting Postgres and Kafka, and building the relay from this clone")
	if s.home, err = child.NewHome("walpost-demo-", nil); err != nil {
		return s, fmt.Errorf("make a temporary folder: %w", err)
	}
	if s.postgres, err = startPostgres(ctx); err != nil {
		return s, err
	}
	screen.say("Postgres %s, removed at the end (%s)", s.postgres.Version(), s.postgres.Source())
	if s.broker, err = startBroker(); err != nil {
		return s, err
	}
	brokers := s.broker.addresses()
	screen.say("Kafka: a broker inside this process, topic %s with %d partitions", topic, partitions)
	if s.relay, err = buildRelay(ctx, s.home, s.postgres.DSN(shopDatabase), brokers); err != nil {
		return s, err
	}
	s.stock = newStock(s.postgres.DSN("stock"), brokers, screen)
	s.points = newPoints(s.postgres.DSN("points"), brokers, screen)
	s.services = []*service{s.stock, s.points}
	if err = s.createDatabases(ctx); err != nil {
		return s, err
	}
	s.orders, err = openShop(ctx, s.postgres.DSN(shopDatabase), screen)
	return s, err
}

// createDatabases creates the three databases: the shop's with all of schema
// walpost, the services' with the inbox and claim() only.
func (s *scene) createDatabases(ctx context.Context) error {
	tables := map[string]string{shopDatabase: ordersTable, s.stock.name: s.stock.table, s.points.name: s.points.table}
	for database, table := range tables {
		if err := s.postgres.CreateDatabase(ctx, database); err != nil {
			return err
		}
		var only []string
		if database != shopDatabase {
			only = []string{"--only", "inbox"}
		}
		if err := s.relay.applySchema(ctx, s.postgres.DSN(database), only...); err != nil {
			return err
		}
		if err := execute(ctx, s.postgres.DSN(database), table); err != nil {
			return fmt.Errorf("create the tables of %s: %w", database, err)
		}
	}
	return nil
}

// close stops and removes everything that was started, in reverse order.
func (s *scene) close() error {
	var errs []error
	for _, service := range s.services {
		service.stop()
	}
	if s.orders != nil {
		s.orders.close()
	}
	if s.home != nil {
		errs = append(errs, s.home.Close()) // ends the relay, if it still runs
	}
	if s.broker != nil {
		s.broker.close()
	}
	if s.postgres != nil {
		errs = append(errs, s.postgres.Close())
	}
	return errors.Join(errs...)
}
