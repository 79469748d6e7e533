// Package servers starts the servers that many tests share: the Postgres that most tests use, the oldest and the newest supported Postgres,
// and one Kafka broker. Tests find them in WALPOST_TEST_* variables.
package servers

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

// Set is the running servers, with the environment variables that name them.
type Set struct {
	mu      sync.Mutex
	closers []io.Closer
	env     []string
}

// Start starts all servers at the same time. If a variable names a server already, it uses that one. After an error, the result has the
// servers that were started until then, so that the caller can close them.
func Start(ctx context.Context) (*Set, error) {
	s := &Set{env: []string{need.RequireVariable + "=1"}}
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

// startPostgres starts the server for most tests, and servers of the oldest and newest major versions, unless the first server has that
// version.
func (s *Set) startPostgres(ctx context.Context) error {
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

// postgres starts a server of a major version, 0 for any, unless the variable names one. It returns the major version, or 0 if it is not
// known.
func (s *Set) postgres(ctx context.Context, variable string, major int) (int, error) {
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

func (s *Set) startKafka(ctx context.Context) error {
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

func (s *Set) add(closer io.Closer, env ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, closer)
	s.env = append(s.env, env...)
}

// Environment returns the environment for tests: our own, and the variables for the servers. With it, tests fail if a component is missing.
func (s *Set) Environment() []string { return append(os.Environ(), s.env...) }

// Close ends the servers. Call it after Start has returned.
func (s *Set) Close() error {
	var errs []error
	for _, closer := range s.closers {
		errs = append(errs, closer.Close())
	}
	return errors.Join(errs...)
}
