package postgres

import "testing"

// TestActivityWorks: only work that the role can see excuses silence.
func TestActivityWorks(t *testing.T) {
	for _, c := range []struct {
		activity Activity
		works    bool
		text     string
	}{
		{Activity{}, false, "it has ended"},
		{Activity{Present: true}, false, "the role may not see what it does"},
		{Activity{Present: true, Visible: true}, true, "it works"},
		{Activity{Present: true, Visible: true, EventType: "IO", Event: "ReorderBufferRead"}, true, "it works (IO: ReorderBufferRead)"},
		{Activity{Present: true, Visible: true, EventType: "LWLock", Event: "WALRead"}, true, "it works (LWLock: WALRead)"},
		{Activity{Present: true, Visible: true, EventType: "Lock", Event: "relation"}, true, "it works (Lock: relation)"},
		{Activity{Present: true, Visible: true, EventType: "IPC", Event: "ProcarrayGroupUpdate"}, true, "it works (IPC: ProcarrayGroupUpdate)"},
		{Activity{Present: true, Visible: true, EventType: "Client", Event: "ClientRead"}, false, "it waits for walpost (Client: ClientRead)"},
		{Activity{Present: true, Visible: true, EventType: "Client", Event: "WalSenderWaitForWAL"}, false, "it waits for walpost (Client: WalSenderWaitForWAL)"},
		{Activity{Present: true, Visible: true, EventType: "Client", Event: "WalSenderWriteData"}, false, "it waits for walpost (Client: WalSenderWriteData)"},
		{Activity{Present: true, Visible: true, EventType: "Client", Event: "WaitForStandbyConfirmation"}, false, ""}, // in this wait it answers, too
		{Activity{Present: true, Visible: true, EventType: "Activity", Event: "WalSenderMain"}, false, "it waits for walpost (Activity: WalSenderMain)"},
	} {
		if got := c.activity.Works(); got != c.works {
			t.Errorf("%+v works: %v", c.activity, got)
		}
		if got := c.activity.String(); c.text != "" && got != c.text {
			t.Errorf("%+v: %q, want %q", c.activity, got, c.text)
		}
	}
}
