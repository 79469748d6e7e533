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

// stamps are the moments of one commit. Several goroutines set them. They are read after all are done.
type stamps struct {
	intended  time.Time // when it should have begun
	committed time.Time // when COMMIT returned
	seen      time.Time // when a consumer had the record
	lsn       uint64    // the start of the commit record, as the Kafka record has it
}

// writers returns how many sessions commit at the same time. A slow commit does not hold up the others, so the load is an open one, and the
// figures show the full cost of a stall. The highest rates need more sessions than there are processors, because each session waits until its
// commit is on disk.
func writers(rate int) int {
	if rate > certain {
		return 32
	}
	return 16
}

// load commits one row for each element of all, rate a second, whether or not the earlier ones are done. It calls at(i) before it hands row i
// to a session, and returns when all rows are committed.
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

// commit commits the rows whose numbers it receives. The number is the event's type.
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

// note is the compressible part of a payload.
var note = strings.Repeat("0123456789abcdef", 14)

// payload returns an order of 323 bytes, as the text of a jsonb, like [payloadSQL]. It is made here so that the server does less work that is
// not measured.
func payload(i int) string {
	var random [16]byte
	binary.NativeEndian.PutUint64(random[:], rand.Uint64())
	binary.NativeEndian.PutUint64(random[8:], rand.Uint64())
	return fmt.Sprintf(`{"note": "%s", "order": "%010d", "total": %d, "customer": "%s"}`, note, i, 10_000+rand.IntN(80_000), hex.EncodeToString(random[:]))
}
