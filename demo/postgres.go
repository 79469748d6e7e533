package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/pgtest"
	"walpost/internal/testenv/need"
	"walpost/internal/testenv/poll"
)

// startPostgres starts a throwaway server with the binaries of this machine, or
// with those that npm or Maven fetch.
func startPostgres(ctx context.Context) (*pgtest.Server, error) {
	server, err := pgtest.Launch(ctx, pgtest.Options{})
	var lack *need.Lack
	if errors.As(err, &lack) {
		// The demo needs a server of its own, so the address of another one does not help.
		lack.Ways = slices.DeleteFunc(lack.Ways, func(way string) bool { return strings.HasPrefix(way, pgtest.Variable) })
	}
	if err != nil {
		return nil, fmt.Errorf("start Postgres: %w", err)
	}
	return server, nil
}

// execute runs statements over a connection of their own.
func execute(ctx context.Context, dsn, statements string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statements)
	return err
}

// query returns the rows of a one-column query, over a connection of its own.
func query[T any](ctx context.Context, dsn, sql string, args ...any) ([]T, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

// until waits for a fact, which it checks every 50 ms.
func until(ctx context.Context, fact string, holds func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %s", patience))
	defer cancel()
	err := poll.Every(ctx, 50*time.Millisecond, func() (bool, error) { return holds(ctx) })
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("wait until %s: %w", fact, err)
	}
	return nil
}
