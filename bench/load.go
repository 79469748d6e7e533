package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// stamps are the moments of one commit. Several goroutines set them; they are read when all are done.
type stamps struct {
	intended  time.Time // when it was meant to begin
	committed time.Time // when COMMIT returned
	seen      time.Time // when a consumer had the record
	lsn       uint64    // where the commit record starts, from the record
}

// writers are the sessions that commit side by side, so that a slow commit holds up none of the others: the load is open, and a stall is
// seen as what it costs. The highest rates need more of them than the processors can run at once, for each waits for its commit to be on disk.
func writers(rate int) int {
	if rate > certain {
		return 32
	}
	return 16
}

// load commits one row for each element of all, rate a second, whether or not the earlier ones are done. It calls at(i) before it gives row
// i out, and returns when all have been committed.
func load(ctx context.Context, dsn string, all []stamps, rate int, at func(i int)) error {
	work := make(chan int, len(all))
	group, ctx := errgroup.WithContext(ctx)
	for range writers(rate) {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		group.Go(func() error { return commit(ctx, conn, all, work) })
	}
	group.Go(func() error {
		defer close(work)
		runtime.LockOSThread() // it sleeps in the kernel
		begin := time.Now()
		for i := range all {
			due := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
			for wait := time.Until(due); wait > 0 && ctx.Err() == nil; wait = time.Until(due) {
				sleep(min(wait, 100*time.Millisecond))
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			at(i)
			all[i].intended = due
			work <- i
		}
		return nil
	})
	return group.Wait()
}

// commit commits the rows whose numbers come in. The number is the type.
func commit(ctx context.Context, conn *pgx.Conn, all []stamps, work <-chan int) error {
	const insert = "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload) VALUES ('order', $1, $2, $3)"
	for i := range work {
		if _, err := conn.Exec(ctx, insert, fmt.Sprint(i%1000), fmt.Sprint(i), payload(i)); err != nil {
			return fmt.Errorf("commit row %d: %w", i, err)
		}
		all[i].committed = time.Now()
	}
	return nil
}

// note is the part of a payload that compresses well.
var note = strings.Repeat("0123456789abcdef", 14)

// payload is an order of 323 bytes as jsonb's text, as [payloadSQL] makes them. It is made here, which leaves more of the server to what is
// measured.
func payload(i int) string {
	var random [16]byte
	binary.NativeEndian.PutUint64(random[:], rand.Uint64())
	binary.NativeEndian.PutUint64(random[8:], rand.Uint64())
	return fmt.Sprintf(`{"note": "%s", "order": "%010d", "total": %d, "customer": "%s"}`, note, i, 10_000+rand.IntN(80_000), hex.EncodeToString(random[:]))
}
