package relay

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/internal/reason"
	"walpost/relay/parking"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
	"walpost/schema"
)

// newParker returns a parker that reports to acks. reached returns the position that is confirmed, and handed the one before which the sink has
// everything.
func (r *Relay) newParker(acks Acks, reached, handed func() uint64) *parking.Parker {
	return parking.New(parking.Config{
		Slot: r.cfg.Slot, Parks: r.cfg.Park, Most: r.cfg.MaxParkedBytes, Connect: r.connectToPark,
		Classify: func(err error) error { return pgerror.Classify(err, pgerror.Parking, false, *r.parkNames.Load()) },
		Acks:     acks, Log: r.log, Reached: reached, Handed: handed,
	})
}

// connectToPark opens a connection for walpost.dead_letters. A refused one is classified as such: the relay has been connected before, so it
// waits, even if its role may not connect any more.
func (r *Relay) connectToPark(ctx context.Context) (*postgres.DB, error) {
	db, err := postgres.Connect(ctx, r.cfg.CurrentConnString())
	return db, pgerror.Classify(err, pgerror.Connecting, false, *r.parkNames.Load())
}

// confirmed returns the position that the stream has confirmed.
func (r *Relay) confirmed() uint64 {
	lsn, _ := r.tracker.Confirmed()
	return uint64(lsn)
}

// startParker starts a parker's goroutines, and returns a function that stops them and waits for them. They go on while the relay stops,
// because a stop waits until everything is parked.
func startParker(ctx context.Context, p *parking.Parker) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var ended sync.WaitGroup
	ended.Go(func() { p.Run(ctx) })
	ended.Go(func() { p.Release(ctx) })
	return func() { cancel(); ended.Wait() }
}

// parked returns what is parked.
func (r *Relay) parked() parking.Parked {
	if r.state.get().Role == Standby { // another relay knows it
		return parking.Parked{}
	}
	p := r.parker
	if filling := r.filling.Load(); filling != nil {
		p = filling
	}
	return p.Parked()
}

// hold records that this session has the slot, so that no other one parks or publishes any more.
func (s *session) hold(ctx context.Context, db *postgres.DB) (err error) {
	r := s.relay
	if err = r.checkParked(ctx, db); err != nil { // again: until now, another relay may have parked
		return err
	}
	r.handed.Store(0)
	s.holder, err = r.writeHolder(ctx, db)
	return err
}

// writeHolder records a new word in walpost.relay_state, and returns it.
func (r *Relay) writeHolder(ctx context.Context, db *postgres.DB) (holder string, err error) {
	names := r.source.Names
	r.parkNames.Store(&names)
	holder = rand.Text()
	return holder, postgres.WriteHolder(ctx, db, r.cfg.Slot, holder)
}

// backfillParker returns the parker of a backfill, and a function that ends its work. It is not the stream's: acks of a backfill confirm nothing.
func (r *Relay) backfillParker(ctx context.Context, acks Acks) (p *parking.Parker, end func()) {
	p = r.newParker(acks, func() uint64 { return 0 }, func() uint64 { return math.MaxUint64 })
	r.filling.Store(p)
	stop := startParker(ctx, p)
	return p, func() {
		p.Hold("")
		stop()
		r.filling.Store(nil)
	}
}

// loadParked records that this first start may park, and reads what is parked. An unfinished first start may have parked rows of the same
// backfill. The backfill begins again and numbers its rows anew, so their positions mean other rows now. They are dropped: their rows are
// read again. at is the position that the rows get.
func (r *firstStart) loadParked(ctx context.Context, db *postgres.DB, at schema.Position) error {
	if r.filler == nil { // the backfill is skipped
		return nil
	}
	dropped, err := postgres.DropDeadLetters(ctx, db, r.cfg.Slot, at)
	if err != nil {
		return err
	}
	if dropped > 0 {
		r.log.Warn("dead letters of the unfinished first start are dropped: their rows are read again", "events", dropped)
	}
	holder, err := r.writeHolder(ctx, db)
	if err != nil {
		return err
	}
	return r.filler.Load(ctx, db, holder, at)
}

// checkParked fails if events are parked and this relay does not park: later events of their keys would come before them.
func (r *Relay) checkParked(ctx context.Context, db *postgres.DB) error {
	if r.cfg.Park {
		return nil
	}
	events, err := postgres.CountParked(ctx, db, r.cfg.Slot)
	if err != nil || events == 0 {
		return err
	}
	return pgerror.Permanent(reason.EventsParked, fmt.Errorf("%d events of slot %s are parked in walpost.dead_letters, and with outbox.on_bad_event: halt later events of their keys would come before them",
		events, r.cfg.Slot), "set outbox.on_bad_event: park until walpost dead-letter retry or discard has ended their wait, or their topic takes records")
}

// restLimit is how long a stop waits for what is given back: Kafka may not take it now.
const restLimit = 2 * time.Second

// restParker lets what is given back and under way come to its end, as long as ShutdownTimeout allows: otherwise it would be published again
// after the stop.
func (s *session) restParker() {
	by := time.Now().Add(restLimit)
	if s.leaveBy.Before(by) {
		by = s.leaveBy
	}
	ctx, cancel := context.WithDeadline(context.Background(), by)
	defer cancel()
	s.relay.parker.Rest(ctx)
}

// letGo ends what loadParked began: nothing is parked or published any more.
func (s *session) letGo() {
	s.relay.parker.Hold("")
}

// loadParked reads what is parked, and lets the parker work. Nothing is in flight.
func (s *session) loadParked() error {
	ctx, cancel := context.WithTimeout(s.leaving, 30*time.Second)
	defer cancel()
	err := s.relay.load(ctx, s.holder, schema.Position{Timeline: s.history.Owner(s.resumed), LSN: uint64(s.resumed)})
	if err != nil && s.leaving.Err() != nil {
		return replication.ErrLeave
	}
	return s.relay.source.Classify(err, pgerror.Parking)
}

// loadLetters reads what is parked, for a session with this word that begins at a position.
func (r *Relay) loadLetters(ctx context.Context, holder string, at schema.Position) error {
	db, err := r.connectToPark(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	err = r.parker.Load(ctx, db, holder, at)
	if !r.cfg.Park && pgerror.IsSQLState(err, "42P01", "42501") { // no table, or no right: then this role has parked nothing
		r.parker.LoadNothing(holder, at)
		return nil
	}
	return err
}

// resumedAt returns the position from which the slot sends again, 0 if it has confirmed nothing.
func resumedAt(slot *postgres.Slot) pglogrepl.LSN {
	if slot == nil {
		return 0
	}
	lsn, _ := pglogrepl.ParseLSN(slot.Confirmed)
	return lsn
}
