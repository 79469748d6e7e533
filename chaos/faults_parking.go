package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kerr"

	"walpost/internal/testenv/child"
	"walpost/internal/testenv/poll"
)

// tableFaults are faults of walpost.dead_letters, while events are parked.
func tableFaults(refused string) []fault {
	return []fault{
		{refused + ", while walpost.dead_letters is locked", 4, refuses, refusing(oversized, func(ctx context.Context, r *round) error {
			unlock, err := r.lockLetters(ctx)
			if err != nil {
				return err
			}
			defer unlock()
			if err := r.hold(ctx, 2*time.Second, 6*time.Second); err != nil {
				return err
			}
			unlock()
			return r.awaitLetters(ctx, stillParked) // what has waited: it cannot be given back before
		})},
		// The relay does not know this error, so it has to try again.
		{refused + ", while a trigger of walpost.dead_letters fails", 4, refuses, refusing(oversized, func(ctx context.Context, r *round) error {
			if err := r.trigger(ctx, "RAISE EXCEPTION 'the disk is full'"); err != nil {
				return err
			}
			return errors.Join(r.hold(ctx, 2*time.Second, 6*time.Second), r.dropTrigger(ctx), r.awaitLetters(ctx, stillParked))
		})},
		{refused + ", while the relay may not insert into walpost.dead_letters", 4, repeats | refuses, refusing(oversized, func(ctx context.Context, r *round) error {
			r.relay.expectEnd()
			if err := r.sql(ctx, "REVOKE INSERT ON walpost.dead_letters FROM "+relayRole); err != nil {
				return err
			}
			limit, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			if err := r.relay.awaitEnd(limit, "GRANT SELECT, INSERT, UPDATE, DELETE ON walpost.dead_letters"); err != nil {
				r.stuck = append(r.stuck, err.Error())
			}
			if err := r.sql(ctx, "GRANT INSERT ON walpost.dead_letters TO "+relayRole); err != nil {
				return err
			}
			if r.relay.current().Running() {
				r.relay.kill()
			}
			return r.relay.start()
		})},
		// The relay sets what it needs, so nothing may change.
		{refused + ", while the relay's role is read-only by default", 4, repeats | refuses, refusing(oversized, func(ctx context.Context, r *round) error {
			if err := r.sql(ctx, "ALTER ROLE "+relayRole+" SET default_transaction_read_only = on"); err != nil {
				return err
			}
			r.toPG.Cut()
			return errors.Join(r.awaitLetters(ctx, stillParked), r.hold(ctx, time.Second, 3*time.Second), r.awaitMore(ctx),
				r.sql(ctx, "ALTER ROLE "+relayRole+" RESET default_transaction_read_only"))
		})},
	}
}

// fenceFaults pause the relay by SIGSTOP while it parks or publishes dead letters. Another relay takes its slot, and does the same. Then the
// first one goes on: it must not park or publish any more.
func fenceFaults(refused string) []fault {
	return []fault{
		{refused + ", relay paused while it parks, another takes over", 4, repeats | refuses, func(ctx context.Context, r *round) error {
			// The table is locked for longer than the relay waits for a lock, so its transaction ends without it.
			unlock, err := r.lockLetters(ctx)
			if err != nil {
				return err
			}
			defer unlock()
			if err := r.refuse(ctx, oversized); err != nil {
				return err
			}
			if err := r.awaitBackend(ctx, "query LIKE 'insert into walpost.dead_letters%' AND wait_event_type = 'Lock'"); err != nil {
				return err
			}
			if err := r.relay.signal(syscall.SIGSTOP); err != nil {
				return err
			}
			if err := r.awaitNoBackend(ctx, "wait_event_type = 'Lock'"); err != nil {
				return err
			}
			unlock()
			// The other relay publishes what the first one was about to park.
			if err := r.accept(ctx, oversized); err != nil {
				return err
			}
			return r.takeOver(ctx, func() error { return errors.Join(r.refuse(ctx, oversized), r.parkAndRelease(ctx)) })
		}},
		{refused + ", relay paused inside a transaction that parks, another takes over", 4, repeats | refuses, func(ctx context.Context, r *round) error {
			if err := r.trigger(ctx, "PERFORM pg_sleep(0.3)"); err != nil {
				return err
			}
			if err := r.refuse(ctx, oversized); err != nil {
				return err
			}
			if err := r.awaitBackend(ctx, "wait_event = 'PgSleep'"); err != nil {
				return err
			}
			if err := r.relay.signal(syscall.SIGSTOP); err != nil {
				return err
			}
			if err := r.sql(ctx, triggerFunction("NULL")); err != nil { // the trigger itself cannot be dropped while the transaction is open
				return err
			}
			if err := r.accept(ctx, oversized); err != nil {
				return err
			}
			return errors.Join(r.takeOver(ctx, func() error { return errors.Join(r.refuse(ctx, oversized), r.parkAndRelease(ctx)) }), r.dropTrigger(ctx))
		}},
		{refused + ", relay paused while it publishes them in the end, another takes over", 4, repeats | refuses, func(ctx context.Context, r *round) error {
			if err := r.refuse(ctx, oversized); err != nil {
				return err
			}
			if err := errors.Join(r.awaitLetters(ctx, stillParked), r.hold(ctx, 0, time.Second), r.accept(ctx, oversized)); err != nil {
				return err
			}
			outage, err := r.toKafka.Answer(kerr.NotEnoughReplicas.Code, unending)
			if err != nil {
				return err
			}
			defer outage.Cancel()
			// The relay looks once a second for what is given back, and then tries to publish it.
			if err := errors.Join(r.retry(ctx), r.hold(ctx, 1200*time.Millisecond, 2*time.Second)); err != nil {
				return err
			}
			if err := r.relay.signal(syscall.SIGSTOP); err != nil {
				return err
			}
			outage.Cancel()
			return r.takeOver(ctx, func() error {
				return errors.Join(r.giveBack(ctx), r.refuse(ctx, oversized), r.parkAndRelease(ctx))
			})
		}},
	}
}

// takeOver starts another relay beside the paused one, does what it has to do, and lets the first one go on.
func (r *round) takeOver(ctx context.Context, meanwhile func() error) error {
	if r.r.IntN(2) == 0 { // else wal_sender_timeout ends the session
		if err := r.sql(ctx, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '"+r.name+"' AND active"); err != nil {
			return err
		}
	}
	paused, err := r.relay.overtake()
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := r.relay.awaitLead(limit); err != nil {
		r.stuck = append(r.stuck, fmt.Sprintf("the other relay does not take over while the first one is paused: %v\n%s", err, child.LastLines(r.relay.log, 3)))
		paused.Kill()
		return meanwhile()
	}
	if err := errors.Join(r.awaitMore(ctx), meanwhile()); err != nil {
		return err
	}
	if err := paused.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	if err := r.relay.settled(ctx, paused); err != nil {
		r.stuck = append(r.stuck, err.Error())
		paused.Kill()
	}
	return nil
}

// parkAndRelease lets the relay park events, and publish them in the end.
func (r *round) parkAndRelease(ctx context.Context) error {
	return errors.Join(r.awaitLetters(ctx, stillParked), r.hold(ctx, time.Second, 3*time.Second), r.accept(ctx, oversized), r.giveBack(ctx), r.awaitMore(ctx))
}

// lockLetters locks walpost.dead_letters. unlock may be called several times.
func (r *round) lockLetters(ctx context.Context) (unlock func(), err error) {
	conn, err := pgx.Connect(ctx, r.postgres.DSN(r.name))
	if err != nil {
		return nil, err
	}
	unlock = func() { conn.Close(context.WithoutCancel(ctx)) }
	if _, err := conn.Exec(ctx, "BEGIN; LOCK TABLE walpost.dead_letters"); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// trigger makes each insert into walpost.dead_letters run a statement in PL/pgSQL first.
func (r *round) trigger(ctx context.Context, statement string) error {
	return r.sql(ctx, triggerFunction(statement)+"; CREATE TRIGGER chaos BEFORE INSERT ON walpost.dead_letters FOR EACH ROW EXECUTE FUNCTION chaos()")
}

func triggerFunction(statement string) string {
	return "CREATE OR REPLACE FUNCTION chaos() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " + statement + "; RETURN NEW; END $$"
}

func (r *round) dropTrigger(ctx context.Context) error {
	return r.sql(ctx, "DROP TRIGGER chaos ON walpost.dead_letters; DROP FUNCTION chaos()")
}

// sql executes SQL as the superuser.
func (r *round) sql(ctx context.Context, text string) error {
	return r.ask(ctx, func(conn *pgx.Conn) (bool, error) {
		_, err := conn.Exec(ctx, text)
		return true, err
	})
}

// awaitBackend waits until a session of the relay is like a condition on pg_stat_activity says.
func (r *round) awaitBackend(ctx context.Context, condition string) error {
	return r.awaitBackends(ctx, condition, true)
}

func (r *round) awaitNoBackend(ctx context.Context, condition string) error {
	return r.awaitBackends(ctx, condition, false)
}

func (r *round) awaitBackends(ctx context.Context, condition string, want bool) error {
	return poll.Until(ctx, func() (there bool, err error) {
		err = r.ask(ctx, func(conn *pgx.Conn) (bool, error) {
			return true, conn.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND usename = '"+relayRole+"' AND "+condition).Scan(&there)
		})
		return there == want, err
	})
}
