package main

import (
	"strings"
	"testing"
	"time"

	"walpost/relay/slotadmin"
	"walpost/schema"
)

// The slot's name has to be typed. An error does not repeat text that looks like a URL. These commands do not connect to anything.
func TestSlotDropWantsTheName(t *testing.T) {
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", "postgres://walpost@127.0.0.1:1/shop")
	for args, want := range map[string]string{
		"slot drop":                              "slot drop takes exactly one argument, the slot's name",
		"slot drop walpost other":                "slot drop takes exactly one argument, the slot's name",
		"slot drop other":                        "the configured slot is walpost and not other",
		"slot drop walpost --slot mine":          "the configured slot is mine and not walpost",
		"slot drop postgres://u:secret@db/shop":  "the configured slot is walpost",
		"slot show walpost":                      "slot show takes flags only",
		"slot":                                   "Usage:",
		"slot delete":                            "slot has the commands create, drop, show",
		"tail postgres://u:secret@db/shop":       "tail takes flags only",
		"slot create postgres://u:secret@db/sho": "slot create takes flags only",
	} {
		code, stdout, stderr := command(t, strings.Fields(args)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) || strings.Contains(stderr, "secret") {
			t.Errorf("%s: exit %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

func TestDescribeSlot(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at, safe := now.Add(-90*time.Second), int64(3<<30)
	s := &slotadmin.Slot{Name: "walpost", Plugin: "pgoutput", Type: "logical", Database: "shop", Active: true, PID: 42, Application: "walpost", Address: "10.0.0.7",
		WALStatus: "reserved", RestartLSN: "0/1500000", ConfirmedFlushLSN: "0/1500038", RetainedBytes: 2048, LagBytes: 1024, SafeWALSize: &safe,
		Recorded: &slotadmin.Recorded{Phase: "streaming", Confirmed: "0/1500038", CommitTime: &at}}
	want := `slot                 walpost
type                 logical pgoutput
database             shop
active               yes: server process 42 streams to walpost at 10.0.0.7
wal_status           reserved
restart_lsn          0/1500000, keeps 2.0 KiB of WAL
confirmed_flush_lsn  0/1500038, 1.0 KiB behind the server
safe_wal_size        3.0 GiB
relay_state          streaming, confirmed up to 0/1500038, which was committed 1 min 30 s ago
`
	if got := describeSlot(s, now); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	s.SafeWALSize = nil
	if got := describeSlot(s, now); !strings.Contains(got, "safe_wal_size        no limit: max_slot_wal_keep_size is -1\n") {
		t.Errorf("without a limit:\n%s", got)
	}
	lost := describeSlot(&slotadmin.Slot{Name: "walpost", Plugin: "pgoutput", Type: "logical", WALStatus: "lost", Reason: "wal_removed", ConfirmedFlushLSN: "0/1500038"}, now)
	for _, part := range []string{"wal_status           lost (wal_removed)\n", "restart_lsn          none, keeps 0 bytes", "relay_state          none"} {
		if !strings.Contains(lost, part) || strings.Contains(lost, "safe_wal_size") {
			t.Errorf("no %q, or a limit, in\n%s", part, lost)
		}
	}
}

// slot drop prints what the next run will do, which depends on the relay's record.
func TestAfterDrop(t *testing.T) {
	for phase, want := range map[string]string{
		"":            "the next walpost run makes a first start",
		"backfilling": "the next walpost run repeats its first start",
		"streaming":   "the next walpost run ends with exit 1, because events may be missing; to start from scratch with a backfill of all rows in the table, run: DELETE FROM walpost.relay_state WHERE slot = 'walpost'",
	} {
		s := &slotadmin.Slot{Name: "walpost", ConfirmedFlushLSN: "0/1500038"}
		if phase != "" {
			s.Recorded = &slotadmin.Recorded{Phase: phase}
		}
		if got := afterDrop(s, schema.DefaultTable); !strings.Contains(got, want) || !strings.Contains(got, "changes that were committed after 0/1500038 are no longer in any slot") {
			t.Errorf("%s: %s", phase, got)
		}
	}
}
