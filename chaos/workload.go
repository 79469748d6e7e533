package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walpost/chaos/verdict"
	"walpost/internal/testenv/poll"
)

// workload simulates services: several writers, each with a session of its own, whose transactions interleave. They connect to the server
// directly, and connect again when it is back.
type workload struct {
	dsn     string
	begun   time.Time
	pace    *time.Ticker
	writers []*writer
	bulk    *writer // for transactions of the nemesis
	hot     *writer // for the key that never pauses
	working sync.WaitGroup
	cancel  context.CancelFunc
	clock   atomic.Int64 // how far the rows' created_at is ahead of the real time, in nanoseconds
}

// How much they write: about 40 transactions a second, of 28 rows on average, with payloads of 2 KB on average.
const (
	writers    = 8
	paceEach   = 25 * time.Millisecond
	largest    = 200
	smallness  = 6    // the exponent of the distribution of sizes: most transactions are small
	keys       = 150  // per topic
	maxPayload = 4000 // bytes
)

// aggregates are the aggregate types of the events, and how many events of ten have each of them.
var aggregates = []struct {
	name  string
	share int
}{{orders, 5}, {payments, 3}, {doomed, 1}, {stamped, 1}}

// The topics: doomed is deleted and created again, payments gets more partitions, and the records of stamped have the times that walpost sets.
const (
	orders   = "orders"
	payments = "payments"
	doomed   = "doomed"
	stamped  = "stamped"
)

func startWorkload(ctx context.Context, dsn string, round int, seed uint64) *workload {
	ctx, cancel := context.WithCancel(ctx)
	w := &workload{dsn: dsn, begun: time.Now(), pace: time.NewTicker(paceEach), cancel: cancel}
	for n := range writers {
		one := w.add(n, round, seed)
		w.working.Go(func() { one.write(ctx) })
	}
	w.bulk, w.hot = w.add(writers, round, seed), w.add(writers+1, round, seed)
	return w
}

func (w *workload) add(n, round int, seed uint64) *writer {
	one := &writer{workload: w, n: n, round: round, r: rand.New(rand.NewPCG(seed, uint64(round)<<8|uint64(n)))}
	w.writers = append(w.writers, one)
	return one
}

// insertBulk commits a transaction of that many rows.
func (w *workload) insertBulk(ctx context.Context, rows int) error {
	if err := w.bulk.connect(ctx); err != nil {
		return err
	}
	defer w.bulk.hangUp()
	b := w.bulk.batch(rows)
	if err := b.insert(ctx, w.bulk.conn); err != nil {
		return err
	}
	w.bulk.claim(b.ids, true)
	return nil
}

// hotKey is a key that gets events all the time while insertHot runs, and hotEvery the time between two of them.
const (
	hotKey   = "hot"
	hotEvery = 5 * time.Millisecond
)

// insertHot commits one event of the hot key after another, until ctx ends.
func (w *workload) insertHot(ctx context.Context) {
	pace := time.NewTicker(hotEvery)
	defer pace.Stop()
	defer func() {
		if w.hot.conn != nil {
			w.hot.hangUp()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		if w.hot.connect(ctx) != nil {
			continue
		}
		b := w.hot.batch(1)
		key := hotKey
		b.topics[0], b.keys[0] = orders, &key
		work, done := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		if b.insert(work, w.hot.conn) != nil {
			w.hot.hangUp()
		} else {
			w.hot.claim(b.ids, true)
		}
		done()
	}
}

// stop ends the writing and returns the writers' claims. Open transactions are finished first, prepared ones too.
func (w *workload) stop() []verdict.Claim {
	w.cancel()
	w.working.Wait()
	w.pace.Stop()
	var claims []verdict.Claim
	for _, one := range w.writers {
		claims = append(claims, one.claims...)
	}
	return claims
}

// writer is one service.
type writer struct {
	*workload
	n, round int
	r        *rand.Rand
	conn     *pgx.Conn
	rows     int // inserted so far: the ids contain this number
	gids     int // prepared transactions so far
	claims   []verdict.Claim
}

// write commits until ctx ends. A transaction that has begun is finished after that.
func (w *writer) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			w.leave()
			return
		case <-w.pace.C:
		}
		if err := w.connect(ctx); err != nil {
			continue // the server is down because of a fault
		}
		work, done := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		if err := w.transact(work); err != nil {
			w.hangUp()
		}
		done()
	}
}

func (w *writer) connect(ctx context.Context) (err error) {
	if w.conn != nil {
		return nil
	}
	if w.conn, err = pgx.Connect(ctx, w.dsn); err != nil {
		w.conn = nil
		return err
	}
	// An earlier session may have left a prepared transaction behind, if its COMMIT PREPARED was not answered.
	if err = w.forget(ctx); err != nil {
		w.hangUp()
	}
	return err
}

func (w *writer) hangUp() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	w.conn.Close(ctx)
	w.conn = nil
}

// forget rolls back the prepared transactions of this writer that still exist.
func (w *writer) forget(ctx context.Context) error {
	rows, err := w.conn.Query(ctx, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE $1", w.gidPrefix()+"%")
	if err != nil {
		return err
	}
	gids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, gid := range gids {
		if _, err := w.conn.Exec(ctx, "ROLLBACK PREPARED '"+gid+"'"); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) gidPrefix() string { return fmt.Sprintf("r%d-w%d-", w.round, w.n) }

// leave ends the session and leaves no prepared transaction behind.
func (w *writer) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = poll.Until(ctx, func() (bool, error) { return w.connect(ctx) == nil, nil }) // what is still prepared then is dropped with the database
	if w.conn != nil {
		w.hangUp()
	}
}

// claim records what the writer knows about rows.
func (w *writer) claim(ids []string, committed bool) {
	if len(ids) > 0 {
		w.claims = append(w.claims, verdict.Claim{IDs: ids, Committed: committed})
	}
}

// size returns the number of rows of the next transaction.
func (w *writer) size() int { return 1 + int(largest*math.Pow(w.r.Float64(), smallness)) }

// batch returns n random rows, of one aggregate type or of several.
func (w *writer) batch(n int) (b batch) {
	for range n {
		w.rows++
		b.ids = append(b.ids, fmt.Sprintf("%08x-%04x-4000-8000-%012x", w.round, w.n, w.rows))
		b.topics = append(b.topics, w.aggregate())
		var key *string
		if w.r.IntN(40) > 0 {
			text := fmt.Sprintf("key-%d", w.r.IntN(keys))
			key = &text
		}
		b.keys = append(b.keys, key)
		size := int32(w.r.IntN(maxPayload))
		if w.r.IntN(30) == 0 {
			size = tombstone
		}
		b.sizes = append(b.sizes, size)
		b.created = append(b.created, time.Now().Add(time.Duration(w.clock.Load())))
	}
	return b
}

func (w *writer) aggregate() string {
	at := w.r.IntN(10)
	for _, a := range aggregates {
		if at -= a.share; at < 0 {
			return a.name
		}
	}
	return orders
}

// batch is a number of rows, by column.
type batch struct {
	ids, topics []string
	keys        []*string
	sizes       []int32 // of the payload
	created     []time.Time
}

// Every 20th payload can hardly be compressed.
const insertSQL = `INSERT INTO walpost.outbox (id, aggregatetype, aggregateid, type, payload, headers, created_at)
	SELECT id::uuid, topic, key, 'Happened',
		CASE WHEN size >= 0 THEN jsonb_build_object('id', id, 'filler', CASE WHEN size % 20 > 0 THEN repeat('x', size)
			ELSE (SELECT string_agg(md5(random()::text), '') FROM generate_series(0, size / 32)) END) END,
		CASE size % 4 WHEN 0 THEN jsonb_build_object('traceparent', id, 'size', size::text) END, created
	FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::timestamptz[]) AS row (id, topic, key, size, created)`

// tombstone is the size of a payload that is NULL.
const tombstone = -1

// execer is a session or a transaction.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

func (b batch) insert(ctx context.Context, on execer) error {
	_, err := on.Exec(ctx, insertSQL, b.ids, b.topics, b.keys, b.sizes, b.created)
	return err
}

// pause waits, so that other writers commit in between.
func (w *writer) pause(ctx context.Context) error {
	timer := time.NewTimer(time.Duration(w.r.IntN(int(20 * time.Millisecond))))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// errUndone says that a transaction was rolled back on purpose.
var errUndone = errors.New("rolled back")
