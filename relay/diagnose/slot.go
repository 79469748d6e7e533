package diagnose

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/bytesize"
	"walpost/internal/diagnosis"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
)

// slot checks the slot, or that it may be created. It needs schema walpost, which records whether the slot was streamed before.
func (d *diagnosing) slot(ctx context.Context, db *postgres.DB) {
	const check = "slot"
	var err error
	if d.state, err = postgres.ReadState(ctx, db, d.Slot); err == nil {
		d.found.Slot, err = d.ReadSlot(ctx, db)
	}
	s := d.found.Slot
	switch {
	case err != nil:
	case s == nil:
		if err = d.CheckNoSlot(d.state); err == nil {
			d.list.OK(check, "slot %s does not exist yet: the first run creates it", d.Slot)
			return
		}
	default:
		if err = d.CheckSlot(s, d.state); err == nil {
			d.holder(ctx, db, s)
			return
		}
	}
	d.fail(check, d.Classify(err, pgerror.Preparing), unasked)
}

// holder adds a finding about an intact slot: the WAL that it keeps, and who streams from it.
func (d *diagnosing) holder(ctx context.Context, db *postgres.DB, s *postgres.Slot) {
	const check = "slot"
	kept := fmt.Sprintf("slot %s keeps %s of WAL, confirmed up to %s, wal_status %s", d.Slot, bytesize.Format(s.Retained), s.Confirmed, s.Status)
	if why, cure := s.Held(); why != "" {
		d.list.Add(check, diagnosis.Failed, why, cure)
		return
	}
	if !s.Active {
		if s.Status != "reserved" && s.Status != "extended" {
			d.list.Add(check, diagnosis.Warning, kept+": it will be lost soon, and nobody streams from it", "run: walpost run")
			return
		}
		d.list.OK(check, "%s; nobody streams from it", kept)
		return
	}
	var application, address string
	err := db.QueryRow(ctx, `select coalesce(application_name, ''), coalesce(client_addr::text, 'this machine') from pg_catalog.pg_stat_activity where pid = $1`, s.PID).
		Scan(&application, &address)
	if err != nil {
		application, address = "unknown", "unknown"
	}
	kept = fmt.Sprintf("%s; pid %d streams from it, application_name %s, from %s", kept, s.PID, application, address)
	switch {
	case s.Status != "reserved" && s.Status != "extended":
		d.list.Add(check, diagnosis.Warning, kept+": it will be lost soon", "run walpost status to find out why events are not acknowledged")
	case application == "walpost" || application == "unknown":
		d.list.OK(check, "%s", kept)
	default:
		d.list.Add(check, diagnosis.Warning, kept+": walpost stands by until that ends", "stop that client if walpost is to use the slot, or choose another name (postgres.slot)")
	}
}

// senders checks that there is room for one more walsender.
func (d *diagnosing) senders(ctx context.Context, db *postgres.DB) {
	d.room(ctx, db, "max_wal_senders", "pg_stat_replication", true, "stop a client that pg_stat_replication shows")
}

// slots checks that there is room for the slot, if it does not exist yet.
func (d *diagnosing) slots(ctx context.Context, db *postgres.DB) {
	d.room(ctx, db, "max_replication_slots", "pg_replication_slots", d.found.Slot == nil,
		"drop an unused slot (SELECT slot_name FROM pg_replication_slots WHERE NOT active)")
}

// room compares a setting with the number of rows in a view of the catalog, which lists what is in use. If needed, one more has to be free.
// otherwise is the cure that does not change the setting.
func (d *diagnosing) room(ctx context.Context, db *postgres.DB, setting, view string, needed bool, otherwise string) {
	var most, used int
	err := db.QueryRow(ctx, `select current_setting($1)::int, (select count(*) from pg_catalog.`+view+`)`, setting).Scan(&most, &used)
	switch {
	case err != nil:
		d.fail(setting, d.Classify(err, pgerror.Preparing), unasked)
	case used >= most && needed:
		d.list.Add(setting, diagnosis.Failed, fmt.Sprintf("all %d of %s are in use", most, setting),
			fmt.Sprintf("run: ALTER SYSTEM SET %s = %d, and restart the server; or %s", setting, most+5, otherwise))
	default:
		d.list.OK(setting, "%d of %d in use", used, most)
	}
}

// retention checks the settings that let Postgres invalidate slots.
func (d *diagnosing) retention(ctx context.Context, db *postgres.DB) {
	const check = "max_slot_wal_keep_size"
	var keep, idle string
	var expires bool
	// idle_replication_slot_timeout exists since 18.
	err := db.QueryRow(ctx, `select current_setting('max_slot_wal_keep_size'),
		coalesce(current_setting('idle_replication_slot_timeout', true), '0'), coalesce(current_setting('idle_replication_slot_timeout', true), '0') not in ('0', '')`).
		Scan(&keep, &idle, &expires)
	if err != nil {
		d.fail(check, d.Classify(err, pgerror.Preparing), unasked)
		return
	}
	risk, err := db.SlotLimitRisk(ctx)
	if err != nil {
		d.fail(check, d.Classify(err, pgerror.Preparing), unasked)
		return
	}
	s := d.found.Slot
	switch {
	case risk != nil:
		d.list.Add(check, diagnosis.Warning, risk.What, risk.Cure)
	case s != nil && postgres.PressureNone.Next(s) == postgres.PressureHigh:
		d.list.Add(check, diagnosis.Warning, fmt.Sprintf("max_slot_wal_keep_size is %s, and slot %s is lost after %s more of WAL", keep, d.Slot, bytesize.Format(s.Safe)),
			"let the relay catch up, or raise the limit: ALTER SYSTEM SET max_slot_wal_keep_size, then SELECT pg_reload_conf()")
	default:
		d.list.OK(check, "%s: beyond that Postgres invalidates the slot, and the disk does not fill up", keep)
	}
	if expires {
		d.list.Add("idle_replication_slot_timeout", diagnosis.Warning, fmt.Sprintf("idle_replication_slot_timeout is %s: a relay that is down for longer loses its slot", idle),
			"run: ALTER SYSTEM SET idle_replication_slot_timeout = 0, then SELECT pg_reload_conf()")
	}
}

// oldTransaction is the age from which on an open transaction is a warning.
const oldTransaction = time.Minute

// transactions looks for a writing transaction that has been open for long: the creation of a slot waits for its end, and an existing slot
// keeps WAL for it. An ordinary role cannot see the age of other roles' transactions.
func (d *diagnosing) transactions(ctx context.Context, db *postgres.DB) {
	const check = "transactions"
	var who, cure string
	var age time.Duration
	err := db.QueryRow(ctx, `
		select who, cure, extract(epoch from pg_catalog.clock_timestamp() - since) * interval '1 second' from (
		  select pg_catalog.format('pid %s, database %s', pid, datname) as who, pg_catalog.format('SELECT pg_terminate_backend(%s)', pid) as cure, xact_start as since
		  from pg_catalog.pg_stat_activity where backend_xid is not null and pid <> pg_catalog.pg_backend_pid()
		  union all
		  select pg_catalog.format('prepared transaction %L, database %s', gid, database), pg_catalog.format('ROLLBACK PREPARED %L (or COMMIT), in database %s', gid, database), prepared
		  from pg_catalog.pg_prepared_xacts
		) t where since is not null order by since limit 1`).Scan(&who, &cure, &age)
	switch {
	case errors.Is(err, pgx.ErrNoRows), err == nil && age < d.oldAfter:
		d.list.OK(check, "no writing transaction has been open for long")
	case err != nil:
		d.fail(check, d.Classify(err, pgerror.Preparing), unasked)
	case d.begins():
		d.list.Add(check, diagnosis.Warning, fmt.Sprintf("a transaction has been open for %s (%s): the creation of the slot waits for its end", age.Round(time.Second), who), "end it in its client, or run: "+cure)
	default:
		d.list.Add(check, diagnosis.Warning, fmt.Sprintf("a transaction has been open for %s (%s): the slot keeps WAL for it, even if everything is confirmed", age.Round(time.Second), who), "end it in its client, or run: "+cure)
	}
}
