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

// slot checks the slot, or that it may be made. It needs schema walpost, which knows what was streamed before.
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

// holder tells who streams from a slot that is as it should be.
func (d *diagnosing) holder(ctx context.Context, db *postgres.DB, s *postgres.Slot) {
	const check = "slot"
	kept := fmt.Sprintf("slot %s keeps %s of WAL, confirmed up to %s, wal_status %s", d.Slot, bytesize.Format(s.Retained), s.Confirmed, s.Status)
	if !s.Active {
		if s.Status != "reserved" && s.Status != "extended" {
			d.list.Add(check, diagnosis.Warning, kept+": it is lost soon, and nobody streams from it", "run: walpost run")
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
		d.list.Add(check, diagnosis.Warning, kept+": it is lost soon", "find out by walpost status why events are not acknowledged")
	case application == "walpost" || application == "unknown":
		d.list.OK(check, "%s", kept)
	default:
		d.list.Add(check, diagnosis.Warning, kept+": a walpost would stand by until that ends", "stop it if walpost is to take over its slot, or choose another name by postgres.slot")
	}
}

// senders checks that there is room for one more stream.
func (d *diagnosing) senders(ctx context.Context, db *postgres.DB) {
	d.room(ctx, db, "max_wal_senders", "pg_stat_replication", true, "stop a client that pg_stat_replication shows")
}

// slots checks that there is room for a slot that is yet to be made.
func (d *diagnosing) slots(ctx context.Context, db *postgres.DB) {
	d.room(ctx, db, "max_replication_slots", "pg_replication_slots", d.found.Slot == nil,
		"drop a slot that nobody uses (SELECT slot_name FROM pg_replication_slots WHERE NOT active)")
}

// room checks a setting against what is in use, which a view of the catalog lists: there must be one more if one is needed. otherwise is
// how to have it without another setting.
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

// retention looks at the settings by which Postgres gives slots up, or does not.
func (d *diagnosing) retention(ctx context.Context, db *postgres.DB) {
	const check = "max_slot_wal_keep_size"
	var keep, idle string
	var expires bool
	// The second is there since 18.
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
		d.list.Add(check, diagnosis.Warning, fmt.Sprintf("max_slot_wal_keep_size is %s, and slot %s is lost after %s more", keep, d.Slot, bytesize.Format(s.Safe)),
			"let the relay catch up, or raise it: ALTER SYSTEM SET max_slot_wal_keep_size, then SELECT pg_reload_conf()")
	default:
		d.list.OK(check, "%s: beyond that Postgres gives the slot up, and saves the disk", keep)
	}
	if expires {
		d.list.Add("idle_replication_slot_timeout", diagnosis.Warning, fmt.Sprintf("idle_replication_slot_timeout is %s: a relay that is down for so long loses its slot", idle),
			"run: ALTER SYSTEM SET idle_replication_slot_timeout = 0, then SELECT pg_reload_conf()")
	}
}

// oldTransaction is how old a transaction may become without a word.
const oldTransaction = time.Minute

// transactions looks for a transaction that has written for long and is still open: a new slot waits for its end, and an old one keeps WAL
// for it. Of other roles' transactions an ordinary role sees the number and not the age.
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
		d.list.OK(check, "none has been writing for long")
	case err != nil:
		d.fail(check, d.Classify(err, pgerror.Preparing), unasked)
	case d.begins():
		d.list.Add(check, diagnosis.Warning, fmt.Sprintf("a transaction has been open for %s (%s): the slot's creation waits for its end", age.Round(time.Second), who), "end it there, or run: "+cure)
	default:
		d.list.Add(check, diagnosis.Warning, fmt.Sprintf("a transaction has been open for %s (%s): the slot keeps WAL for it, whatever is confirmed", age.Round(time.Second), who), "end it there, or run: "+cure)
	}
}
