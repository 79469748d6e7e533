package relay

import (
	"fmt"
	"strings"
	"testing"

	"walpost/relay/internal/dbtest"
	"walpost/relay/postgres"
	"walpost/relay/slotadmin"
)

// TestSlotLife: a slot that was created by hand is streamed without a backfill. It is not dropped while it is in use, and not re-created as
// if nothing was lost.
func TestSlotLife(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, err := slotadmin.Show(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, f.cfg.Slot, "does not exist", "no relay has used it")
	_, err = slotadmin.Drop(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "does not exist")

	f.Insert(5)
	s, err := slotadmin.Create(t.Context(), f.cfg.Config)
	if err != nil {
		t.Fatal(err)
	}
	if s.Plugin != "pgoutput" || s.Active || s.WALStatus != "reserved" || s.Recorded != nil || s.ConfirmedFlushLSN == "" || f.Phase() != "" || s.SafeWALSize != nil {
		t.Errorf("created %+v", s)
	}
	_, err = slotadmin.Create(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "exists already")
	r := f.start()
	f.Insert(2)
	dbtest.Until(t, "2 events", func() bool { return f.sink.count() >= 2 })
	dbtest.Until(t, "the confirmation", func() bool { return f.Confirmed() > f.commitOf(1) })
	if got, want := f.sink.ids(), f.IDs()[5:]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("published %q, want %q", got, want)
	}
	s, err = slotadmin.Show(t.Context(), f.cfg.Config)
	if err != nil || !s.Active || s.PID == 0 || s.Recorded == nil || s.Recorded.Phase != postgres.PhaseStreaming || !strings.Contains(s.Holder(), "streams to walpost at 127.0.0.1") {
		t.Errorf("%v, %+v", err, s)
	}
	_, err = slotadmin.Drop(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "is in use", fmt.Sprintf("server process %d", s.PID), "stop that first")
	r.stop()

	s, err = slotadmin.Show(t.Context(), f.cfg.Config)
	if err != nil || s.Active || !s.Recorded.CleanStop || s.Recorded.CommitTime == nil || s.Recorded.Confirmed == "" {
		t.Errorf("%v, %+v", err, s)
	}
	if s, err = slotadmin.Drop(t.Context(), f.cfg.Config); err != nil || s.Recorded == nil || s.ConfirmedFlushLSN == "" || f.Slots() != 0 {
		t.Fatalf("drop: %v, %+v", err, s)
	}
	if f.Phase() != postgres.PhaseStreaming {
		t.Errorf("the recorded phase is now %q", f.Phase())
	}
	_, err = slotadmin.Show(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "walpost has streamed from it", "committed 2")
	_, err = slotadmin.Create(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "walpost has streamed from it", "DELETE FROM walpost.relay_state")
	dbtest.WantError(t, f.launch().wait(), "does not exist, but walpost has streamed from it")
	f.Exec("update walpost.relay_state set phase = 'backfilling'")
	_, err = slotadmin.Create(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "did not finish", "DELETE FROM walpost.relay_state")
	if f.Slots() != 0 {
		t.Error("a slot was created")
	}
}

// TestSlotBackfill: during a first start, slot create and slot drop are refused, although the first start may not hold the slot.
func TestSlotBackfill(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Insert(3)
	f.sink.setAuto(false)
	r := f.launch()
	dbtest.Until(t, "the backfill", func() bool { return f.sink.count() == 3 })
	_, err := slotadmin.Drop(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "first start")
	_, err = slotadmin.Create(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "first start")
	f.sink.ack(3)
	dbtest.Until(t, "the relay leads", func() bool { return r.relay.State().Role == Leader })
	r.stop()
}
