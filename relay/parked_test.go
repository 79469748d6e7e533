package relay

import (
	"testing"

	"walpost/internal/reason"
)

// A relay that stands by shows nothing as parked: another one has the slot, and what this one knew may be over.
func TestStandbyShowsNothingParked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Exec("insert into walpost.dead_letters (slot, position, topic, key, reason) values ($1, '00000001-0000000000000010-00000000', 't', 'a', 'message_too_large')", f.cfg.Slot)
	r := f.start()
	r.await("it is known", func() bool { return r.relay.State().Parked.Keys == 1 })
	r.relay.state.set(Standby, reason.SlotHeld, "another has it")
	if p := r.relay.State().Parked; p.Keys != 0 || p.Events != 0 {
		t.Errorf("%+v", p)
	}
	r.stop()
}
