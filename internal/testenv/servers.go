package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/need"
)

// servers are those that run, and what tests are told of them.
type servers struct {
	mu      sync.Mutex
	closers []io.Closer
	env     []string
}

// startServers starts all servers side by side. What it has started by the
// time of an error is in the result, to be closed.
func startServers(ctx context.Context) (*servers, error) {
	s := &servers{env: []string{need.RequireVariable + "=1"}}
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startPostgres(ctx) })
	group.Go(func() error { return s.startKafka(ctx) })
	if err := group.Wait(); err != nil {
		return s, err
	}
	fmt.Printf("servers up after %.1f s\n", time.Since(began).Seconds())
	return s, nil
}

// startPostgres starts the server for most tests and those for the oldest
// and newest major version that it does not cover.
func (s *servers) startPostgres(ctx context.Context) error {
	covered, err := s.postgres(ctx, pgtest.Variable, 0)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, major := range []int{pgtest.OldestMajor, pgtest.NewestMajor} {
		if major != covered {
			group.Go(func() error {
				_, err := s.postgres(ctx, pgtest.MajorVariable(major), major)
				return err
			})
		}
	}
	return group.Wait()
}

// postgres starts a server of a major version, 0 for any, unless the
// variable names one, and gives back which it is, 0 if it is not known.
func (s *servers) postgres(ctx context.Context, variable string, major int) (int, error) {
	if os.Getenv(variable) != "" {
		fmt.Printf("%s: the one that was given\n", variable)
		return major, nil
	}
	server, err := pgtest.Launch(ctx, pgtest.Options{Major: major})
	if err != nil {
		return 0, err
	}
	fmt.Printf("%s: Postgres %s, %s\n", variable, server.Version(), server.Source())
	dsn := server.DSN("postgres")
	s.add(server, variable+"="+dsn, pgtest.MajorVariable(server.Major())+"="+dsn)
	return server.Major(), nil
}

func (s *servers) startKafka(ctx context.Context) error {
	if os.Getenv(kafkatest.Variable) != "" {
		fmt.Printf("%s: the one that was given\n", kafkatest.Variable)
		return nil
	}
	cluster, err := kafkatest.Launch(ctx, kafkatest.Options{})
	if err != nil {
		return err
	}
	fmt.Printf("%s: Kafka %s\n", kafkatest.Variable, kafkatest.Version)
	s.add(cluster, kafkatest.Variable+"="+cluster.Brokers()[0])
	return nil
}

func (s *servers) add(closer io.Closer, env ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, closer)
	s.env = append(s.env, env...)
}

// environment is what tests see: ours, and the servers.
func (s *servers) environment() []string { return append(os.Environ(), s.env...) }

// close ends the servers. It is for when nothing starts any more.
func (s *servers) close() error {
	var errs []error
	for _, closer := range s.closers {
		errs = append(errs, closer.Close())
	}
	return errors.Join(errs...)
}
