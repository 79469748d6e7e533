package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"walpost/cmd/walpost/internal/config"
	"walpost/internal/bytesize"
	"walpost/relay/slotadmin"
	"walpost/schema"
)

func (a *app) slotCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "slot",
		Short: "Show, create or drop the replication slot",
		Long: `These commands work on the slot that postgres.slot names. A first start needs none of them:
walpost run creates the slot and makes a backfill of the rows in the outbox.`,
	})
	var asJSON bool
	show := leaf(&cobra.Command{
		Use:   "show",
		Short: "Print what Postgres and the relay's record say about the slot; exit 1 if it does not exist",
		Example: `  walpost slot show
  walpost slot show --json | jq .retained_bytes`,
		RunE: verb(func(cmd *cobra.Command) error { return a.slotShow(cmd, asJSON) }),
	})
	show.Flags().BoolVar(&asJSON, "json", false, "print JSON, with the names of pg_replication_slots and walpost.relay_state")
	cmd.AddCommand(show,
		leaf(&cobra.Command{
			Use:   "create",
			Short: "Create the slot before the first start, so that it makes no backfill",
			Long: `create creates the slot that postgres.slot names. If the slot exists at the first start, walpost run
streams it without a backfill: it publishes what is committed from now on, and none of the rows that
are in the outbox already. To publish those too, do not use this command. The publication and schema
walpost must exist: create them with walpost schema apply.

Postgres keeps WAL for a slot from the moment it is created, even if nothing streams from it.`,
			Example: `  walpost slot create && walpost run`,
			RunE:    verb(a.slotCreate),
		}),
		a.slotDropCommand(),
	)
	return cmd
}

func (a *app) slotDropCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "drop NAME",
		Short: "Drop the slot; NAME must be that of postgres.slot",
		Long: `drop drops the slot that postgres.slot names. You have to type that name. walpost will never
publish changes that were not yet confirmed. drop refuses a slot that something streams from.

The relay's record of the slot stays, so that walpost run does not start from scratch as if nothing
were missing. drop prints what the next run will do, and the SQL that makes it start from scratch.`,
		Example: `  walpost slot drop walpost`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 { // the error does not repeat them: a URL with its password may be among them
				return fmt.Errorf("slot drop takes exactly one argument, the slot's name; see walpost slot drop --help")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return verb(func(cmd *cobra.Command) error { return a.slotDrop(cmd, args[0]) })(cmd, nil)
		},
	}
}

func (a *app) slotShow(cmd *cobra.Command, asJSON bool) error {
	_, c, err := a.loadPostgresConfig(cmd)
	if err != nil {
		return err
	}
	c.Logger = slog.New(slog.DiscardHandler)
	s, err := slotadmin.Show(cmd.Context(), c)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(a.stdout).Encode(s)
	}
	_, err = io.WriteString(a.stdout, describeSlot(s, time.Now()))
	return err
}

// describeSlot returns a slot's state as text for people.
func describeSlot(s *slotadmin.Slot, now time.Time) string {
	var b strings.Builder
	row := func(name, value string) { fmt.Fprintf(&b, "%-19s  %s\n", name, value) }
	row("slot", s.Name)
	row("type", strings.TrimSpace(s.Type+" "+s.Plugin))
	if s.Database != "" {
		row("database", s.Database)
	}
	active := "no"
	if s.Active {
		active = "yes: " + s.Holder()
	}
	row("active", active)
	status := s.WALStatus
	if s.Reason != "" {
		status += " (" + s.Reason + ")"
	}
	row("wal_status", status)
	row("restart_lsn", fmt.Sprintf("%s, keeps %s of WAL", cmp.Or(s.RestartLSN, "none"), bytesize.Format(s.RetainedBytes)))
	row("confirmed_flush_lsn", fmt.Sprintf("%s, %s behind the server", cmp.Or(s.ConfirmedFlushLSN, "none"), bytesize.Format(s.LagBytes)))
	switch {
	case s.SafeWALSize != nil:
		row("safe_wal_size", bytesize.Format(*s.SafeWALSize))
	case s.WALStatus != "lost":
		row("safe_wal_size", "no limit: max_slot_wal_keep_size is -1")
	}
	if r := s.Recorded; r != nil {
		at := time.Time{}
		if r.CommitTime != nil {
			at = *r.CommitTime
		}
		text := recorded(r.Phase, r.Confirmed, at, now)
		if r.CleanStop {
			text += "; the relay stopped cleanly"
		}
		row("relay_state", text)
	} else {
		row("relay_state", "none: no relay has used this slot")
	}
	return b.String()
}

func (a *app) slotCreate(cmd *cobra.Command) error {
	cfg, c, err := a.loadPostgresConfig(cmd)
	if err != nil {
		return err
	}
	if c.Logger, _, err = a.logger(cfg); err != nil {
		return err
	}
	s, err := slotadmin.Create(cmd.Context(), c)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "walpost: walpost run will publish what is committed from now on, and none of the rows that were in %s before; start it soon, because Postgres keeps WAL for the slot from now on\n", c.Table)
	_, err = fmt.Fprintf(a.stdout, "created slot %s at %s, in %s\n", s.Name, s.ConfirmedFlushLSN, s.Place)
	return err
}

func (a *app) slotDrop(cmd *cobra.Command, named string) error {
	cfg, c, err := a.loadPostgresConfig(cmd)
	if err != nil {
		return err
	}
	if named != cfg.Postgres.Slot {
		return &exitError{exitUsage, fmt.Errorf("slot drop: the configured slot is %s and not %s: type its name, or choose another slot with --slot", cfg.Postgres.Slot, config.PrintableName(named))}
	}
	c.Logger = slog.New(slog.DiscardHandler)
	s, err := slotadmin.Drop(cmd.Context(), c)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "walpost: %s\n", afterDrop(s, c.Table))
	_, err = fmt.Fprintf(a.stdout, "dropped slot %s, which was at %s, from %s\n", s.Name, cmp.Or(s.ConfirmedFlushLSN, "none"), s.Place)
	return err
}

// afterDrop says what is lost with a dropped slot, and what the next run will do.
func afterDrop(s *slotadmin.Slot, table schema.Table) string {
	lost := fmt.Sprintf("changes that were committed after %s are no longer in any slot (%s of WAL); rows that are still in %s are not lost", cmp.Or(s.ConfirmedFlushLSN, "none"), bytesize.Format(s.LagBytes), table)
	switch {
	case s.Recorded == nil:
		return lost + "; the next walpost run makes a first start: it creates a new slot and makes a backfill of all rows in the table"
	case s.Recorded.Phase == "backfilling":
		return lost + "; the next walpost run repeats its first start: it creates a new slot and makes a backfill of all rows in the table"
	}
	return lost + "; the next walpost run ends with exit 1, because events may be missing; to start from scratch with a backfill of all rows in the table, run: " +
		"DELETE FROM walpost.relay_state WHERE slot = " + schema.QuoteLiteral(s.Name)
}
