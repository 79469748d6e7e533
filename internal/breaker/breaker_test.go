package breaker

import (
	"fmt"
	"testing"

	"walpost/internal/reason"
)

// At least 20 refusals of at least 2 keys, with one code and no ack between them, mean that the topic takes no records.
func TestBreaker(t *testing.T) {
	const large, invalid = reason.MessageTooLarge, reason.InvalidRecord
	refuse := func(b *Breaker, n int, key string, code reason.Code) (keys int, trips bool) {
		for i := range n {
			k := []byte(key)
			if key == "each" {
				k = fmt.Append(nil, i)
			} else if key == "" {
				k = nil
			}
			all, now := b.Refused(code, k)
			trips = trips || now
			keys += len(all)
		}
		return keys, trips
	}
	var b Breaker
	if _, trips := refuse(&b, 19, "each", large); trips {
		t.Error("19 refusals")
	}
	if keys, trips := refuse(&b, 1, "last", large); !trips || keys != 20 {
		t.Errorf("20 refusals: %t, %d keys", trips, keys)
	}
	if _, trips := refuse(&b, 19, "each", large); trips {
		t.Error("19 more")
	}
	b.Took()
	if _, trips := refuse(&b, 19, "each", large); trips {
		t.Error("an ack between them")
	}
	if _, trips := refuse(&b, 19, "each", invalid); trips {
		t.Error("another code")
	}
	b = Breaker{}
	if _, trips := refuse(&b, 40, "one", large); trips {
		t.Error("one key")
	}
	b = Breaker{}
	if keys, trips := refuse(&b, 20, "", large); !trips || keys != 0 {
		t.Error("events without a key")
	}
}
