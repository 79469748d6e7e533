package relay

import "testing"

func TestBackoff(t *testing.T) {
	var b backoff
	for i := range 20 {
		want := retryMost
		if i < 10 {
			want = min(retryFirst<<i, retryMost)
		}
		if got := b.next(); got < want/2 || got > want {
			t.Errorf("attempt %d: %v, want up to %v", i, got, want)
		}
	}
	if b.reset(); b.next() > retryFirst {
		t.Error("the pause after a reset is not short")
	}
}
