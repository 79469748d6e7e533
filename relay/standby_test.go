package relay

import (
	"slices"
	"testing"

	"walpost/relay/internal/dbtest"
)

// TestStandby: of two relays one leads. The other stands by, and takes over.
func TestStandby(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })

	other := *f
	other.sink = newFakeSink(true)
	other.cfg.OpenSink = other.sink.open
	second := other.launch()
	dbtest.Until(t, "the second stands by", func() bool { return second.relay.State().Role == Standby })
	if first.relay.State().Role != Leader {
		t.Error("the first no longer leads")
	}
	first.stop()
	f.Insert(1)
	dbtest.Until(t, "the second leads", func() bool { return other.sink.count() == 1 })
	if got, want := other.sink.ids(), f.IDs()[1:]; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	third := f.launch()
	dbtest.Until(t, "the third stands by", func() bool { return third.relay.State().Role == Standby })
	third.stop() // at once
	second.stop()
}
