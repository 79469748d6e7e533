package long

import (
	"testing"
)

// verdict records how a test would end.
type verdict struct {
	testing.TB
	name string
	said string
}

func (v *verdict) Helper()      {}
func (v *verdict) Name() string { return v.name }
func (v *verdict) Skip(args ...any) {
	if v.said == "" {
		v.said = args[0].(string)
	}
}

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

// A test that runs alone is left out while others run, and only then.
func TestAlone(t *testing.T) {
	for _, c := range []struct{ size, alone, want string }{{"", "", Left}, {"", "later", Left}, {"1", "later", LeftAlone}, {"1", "", ""}} {
		t.Setenv(Variable, c.size)
		t.Setenv(AloneVariable, c.alone)
		v := &verdict{TB: t, name: AlonePrefix}
		Alone(v)
		if v.said != c.want {
			t.Errorf("%+v: said %q", c, v.said)
		}
	}
}
