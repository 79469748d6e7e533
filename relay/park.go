package relay

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/relay/parking"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
	"walpost/schema"
)

// newParker returns the parker of the relay's slot.
func (r *Relay) newParker() *parking.Parker {
	return parking.New(parking.Config{
		Slot: r.cfg.Slot,
		Connect: func(ctx context.Context) (*postgres.DB, error) {
			return postgres.Connect(ctx, r.cfg.CurrentConnString())
		},
		Classify: func(err error) error { return pgerror.Classify(err, pgerror.Parking, false, *r.parkNames.Load()) },
		Acks:     r.tracker, Log: r.log,
		Reached: func() uint64 {
			lsn, _ := r.tracker.Confirmed()
			return uint64(lsn)
		},
	})
}

// startParker starts the parker's goroutines, and returns a function that stops them and waits for them. They go on while the relay stops,
// because a stop waits until everything is parked.
func (r *Relay) startParker(ctx context.Context) (end func()) {
	if r.parker == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var ended sync.WaitGroup
	ended.Go(func() { r.parker.Run(ctx) })
	ended.Go(func() { r.parker.Release(ctx) })
	return func() { cancel(); ended.Wait() }
}

// parked returns what is parked.
func (r *Relay) parked() parking.Parked {
	if r.parker == nil {
		return parking.Parked{}
	}
	return r.parker.Parked()
}

// acks is what the stream's sink reports to.
func (r *Relay) acks() Acks {
	if r.parker == nil {
		return r.tracker
	}
	return r.parker
}

// hold records that this session has the slot, so that no other one parks or publishes any more.
func (s *session) hold(ctx context.Context, db *postgres.DB) error {
	r := s.relay
	if r.parker == nil {
		return nil
	}
	s.holder = rand.Text()
	names := r.source.Names
	r.parkNames.Store(&names)
	return postgres.WriteHolder(ctx, db, r.cfg.Slot, s.holder)
}

// letGo ends what loadParked began: nothing is parked or published any more.
func (s *session) letGo() {
	if s.relay.parker != nil {
		s.relay.parker.Hold("")
	}
}

// loadParked reads what is parked, and lets the parker work. Nothing is in flight.
func (s *session) loadParked() error {
	r := s.relay
	if r.parker == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.leaving, 30*time.Second)
	defer cancel()
	db, err := postgres.Connect(ctx, r.cfg.CurrentConnString())
	if err == nil {
		defer db.Close()
		err = r.parker.Load(ctx, db, s.holder, schema.Position{Timeline: s.history.Owner(s.resumed), LSN: uint64(s.resumed)})
	}
	if err != nil && s.leaving.Err() != nil {
		return replication.ErrLeave
	}
	return r.source.Classify(err, pgerror.Parking)
}

// resumedAt returns the position from which the slot sends again, 0 if it has confirmed nothing.
func resumedAt(slot *postgres.Slot) pglogrepl.LSN {
	if slot == nil {
		return 0
	}
	lsn, _ := pglogrepl.ParseLSN(slot.Confirmed)
	return lsn
}
