package spelling

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	for _, test := range []struct {
		name, candidates string
		limit            int
		want             string
	}{
		{"paylod", "id payload type", 3, "payload"},
		{"PAYLOAD", "id Payload type", 1, "Payload"},
		{"id", "is it id", 3, "id"},
		{"ia", "ib ic", 2, "ib"},
		{"payload", "id type", 3, ""},
		{"ab", "ba", 2, ""},
		{"ab", "ba", 3, "ba"},
		{"", "id", 3, "id"},
		{"id", "", 3, ""},
	} {
		if got := Nearest(test.name, strings.Fields(test.candidates), test.limit, strings.ToLower); got != test.want {
			t.Errorf("%q of %q, fewer than %d edits: %q, want %q", test.name, test.candidates, test.limit, got, test.want)
		}
	}
}
