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
		Long: `The slot is the one that postgres.slot names. The first walpost run creates it by itself, with a
backfill of the rows that are in the outbox; none of these commands is needed for that.`,
	})
	var asJSON bool
	show := leaf(&cobra.Command{
		Use:   "show",
		Short: "Print what Postgres knows of the slot, and what the relay recorded; exit 1 if there is none",
		Example: `  walpost slot show
  walpost slot show --json | jq .retained_bytes`,
		RunE: verb(func(cmd *cobra.Command) error { return a.slotShow(cmd, asJSON) }),
	})
	show.Flags().BoolVar(&asJSON, "json", false, "print JSON, named as in pg_replication_slots and walpost.relay_state")
	cmd.AddCommand(show,
		leaf(&cobra.Command{
			Use:   "create",
			Short: "Create the slot before the first start, which then makes no backfill",
			Long: `create makes the slot of postgres.slot. walpost run streams a slot that it finds as it is: what is
committed from now on, and no row that is in the outbox already. To have those published, do
without this command. The publication and schema walpost must be there: walpost schema apply.

A slot keeps WAL from its first moment, whether anybody streams from it or not.`,
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
		Long: `drop drops the slot of postgres.slot, whose name has to be typed. What it kept and was not confirmed is
in no slot then. A slot that somebody streams from is not dropped.

What the relay recorded of it stays, so that walpost run does not begin anew as if nothing was missing:
drop prints what the next run will do, and the SQL that makes it begin anew.`,
		Example: `  walpost slot drop walpost`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 { // without a word of them: a URL with its password may be among them
				return fmt.Errorf("slot drop takes the slot's name, and nothing else; see walpost slot drop --help")
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

// describeSlot is a slot for people.
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
			text += "; the relay left cleanly"
		}
		row("relay_state", text)
	} else {
		row("relay_state", "none: no relay has begun with it")
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
	fmt.Fprintf(a.stderr, "walpost: walpost run will publish what is committed from now on, and none of the rows that %s had before; start it soon, for the slot keeps WAL from now on\n", c.Table)
	_, err = fmt.Fprintf(a.stdout, "created slot %s at %s, in %s\n", s.Name, s.ConfirmedFlushLSN, s.Place)
	return err
}

func (a *app) slotDrop(cmd *cobra.Command, named string) error {
	cfg, c, err := a.loadPostgresConfig(cmd)
	if err != nil {
		return err
	}
	if named != cfg.Postgres.Slot {
		return &exitError{exitUsage, fmt.Errorf("slot drop: the configured slot is %s and not %s: type its name, or choose another slot by --slot", cfg.Postgres.Slot, config.PrintableName(named))}
	}
	c.Logger = slog.New(slog.DiscardHandler)
	s, err := slotadmin.Drop(cmd.Context(), c)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "walpost: %s\n", afterDrop(s, c.Table))
	_, err = fmt.Fprintf(a.stdout, "dropped slot %s, which stood at %s, from %s\n", s.Name, cmp.Or(s.ConfirmedFlushLSN, "none"), s.Place)
	return err
}

// afterDrop says what is lost with a slot, and what the next run makes of that.
func afterDrop(s *slotadmin.Slot, table schema.Table) string {
	lost := fmt.Sprintf("what was committed after %s is in no slot any more (%s of WAL); rows that are still in %s are not lost", cmp.Or(s.ConfirmedFlushLSN, "none"), bytesize.Format(s.LagBytes), table)
	switch {
	case s.Recorded == nil:
		return lost + "; the next walpost run makes a first start: a new slot, and a backfill of all rows that are in the table"
	case s.Recorded.Phase == "backfilling":
		return lost + "; the next walpost run makes its first start again: a new slot, and a backfill of all rows that are in the table"
	}
	return lost + "; the next walpost run ends with exit 1, because events may be missing; to begin anew with a backfill of all rows that are in the table, run: " +
		"DELETE FROM walpost.relay_state WHERE slot = " + schema.QuoteLiteral(s.Name)
}
