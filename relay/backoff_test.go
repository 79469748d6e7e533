package relay

import "testing"

func TestBackoff(t *testing.T) {
	for _, standby := range []bool{false, true} {
		most := retryMost
		if standby {
			most = retryStandby
		}
		var b backoff
		for i := range 20 {
			want := most
			if i < 10 {
				want = min(retryFirst<<i, most)
			}
			if got := b.next(standby); got < want/2 || got > want {
				t.Errorf("attempt %d: %v, want up to %v", i, got, want)
			}
		}
		if b.reset(); b.next(standby) > retryFirst {
			t.Error("not soon after a reset")
		}
	}
}
