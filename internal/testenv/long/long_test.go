package long

import (
	"testing"
)

// verdict records how a test would end.
type verdict struct {
	testing.TB
	said string
}

func (v *verdict) Helper()          {}
func (v *verdict) Skip(args ...any) { v.said = args[0].(string) }

func TestOnly(t *testing.T) {
	for value, want := range map[string]string{"": Left, "0": Left, "1": ""} {
		t.Setenv(Variable, value)
		v := &verdict{TB: t}
		Only(v)
		if v.said != want {
			t.Errorf("%s=%q: said %q, want %q", Variable, value, v.said, want)
		}
		if got := Or("short", "long"); (got == "short") != (want != "") {
			t.Errorf("%s=%q: took %s", Variable, value, got)
		}
	}
}
