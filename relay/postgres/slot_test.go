package postgres

import (
	"strings"
	"testing"

	"walpost/relay/pgerror"
)

// TestCheckSlot: a slot that walpost cannot stream, or that somebody else has moved, is a fault.
func TestCheckSlot(t *testing.T) {
	src, _ := outbox()
	well := Slot{kind: "logical", plugin: "pgoutput", Confirmed: "0/20"}
	for name, c := range map[string]struct {
		change func(*Slot)
		want   string // "": there is no fault
	}{
		"well":                       {func(*Slot) {}, ""},
		"in use":                     {func(s *Slot) { s.Active = true }, ""},
		"physical":                   {func(s *Slot) { s.kind, s.plugin = "physical", "" }, "is a physical slot, not a logical slot of pgoutput"},
		"of another database":        {func(s *Slot) { s.Foreign, s.database, s.plugin = true, "other", "wal2json" }, "belongs to database other"},
		"of another plugin":          {func(s *Slot) { s.plugin = "wal2json" }, "uses the plugin wal2json"},
		"lost":                       {func(s *Slot) { s.Lost, s.Reason = true, "wal_removed" }, "wal_status is lost (wal_removed)"},
		"of a server that is older":  {func(s *Slot) { s.beyond, s.ahead = true, true }, "stands at 0/20, beyond the end of the server's WAL"},
		"moved":                      {func(s *Slot) { s.ahead = true }, "stands at 0/20, ahead of where walpost left it (0/10): somebody moved it"},
		"being moved by another one": {func(s *Slot) { s.ahead, s.Active = true, true }, ""},
	} {
		s := well
		c.change(&s)
		err := src.CheckSlot(&s, &RelayState{confirmed: "0/10"})
		if (err != nil) != (c.want != "") || err != nil && (!pgerror.IsPermanent(err) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestCheckNoSlot: a slot that walpost has streamed from is never re-created, and a slot with an invalid name is not tried.
func TestCheckNoSlot(t *testing.T) {
	for name, c := range map[string]struct {
		slot  string
		state *RelayState
		want  string // "": it may be created
	}{
		"never begun":        {"shop", nil, ""},
		"a first start died": {"shop", &RelayState{Phase: PhaseBackfilling}, ""},
		"streamed":           {"shop", &RelayState{Phase: PhaseStreaming}, "are in no slot (nothing was confirmed yet)"},
		"streamed events": {"shop", &RelayState{Phase: PhaseStreaming, confirmed: "0/10", committed: "yesterday"},
			"(the last recorded confirmation is 0/10, of a transaction committed at yesterday)"},
		"streamed no events": {"shop", &RelayState{Phase: PhaseStreaming, confirmed: "0/10"}, "(the last recorded confirmation is 0/10)"},
		"an impossible name": {"Shop", nil, `"Shop" is not a valid name for a slot`},
	} {
		src, _ := outbox()
		src.Slot = c.slot
		err := src.CheckNoSlot(c.state)
		if (err != nil) != (c.want != "") || err != nil && (!pgerror.IsPermanent(err) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestLegalSlotName(t *testing.T) {
	for name, want := range map[string]bool{
		"walpost": true, "0_9": true, strings.Repeat("x", 63): true,
		"": false, "Walpost": false, "wal-post": false, "wal post": false, "größe": false, "walpost\n": false, strings.Repeat("x", 64): false,
	} {
		if got := LegalSlotName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// TestSlotState: if there is no slot, the state has an empty status. No limit is not the same as 0 bytes.
func TestSlotState(t *testing.T) {
	if s := (*Slot)(nil).State(); s.Seen.IsZero() || s.WALStatus != "" || s.SafeBytes != -1 {
		t.Errorf("of no slot: %+v", s)
	}
	s := (&Slot{Active: true, Status: "extended", Retained: 3, Safe: 2, Confirmed: "0/10"}).State()
	want := SlotState{Seen: s.Seen, Active: true, WALStatus: "extended", RetainedBytes: 3, SafeBytes: 2, ConfirmedFlush: "0/10"}
	if s != want || s.Seen.IsZero() {
		t.Errorf("of a slot: %+v", s)
	}
}
