package need

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// verdict records how a test would end.
type verdict struct {
	testing.TB
	said string
}

func (v *verdict) Helper()           {}
func (v *verdict) Skip(args ...any)  { v.said += "skip" }
func (v *verdict) Fatal(args ...any) { v.said += "fatal" }

func TestMet(t *testing.T) {
	lack := fmt.Errorf("wrapped: %w", &Lack{What: "browser"})
	for _, c := range []struct {
		err     error
		require string
		want    string
	}{
		{nil, "1", ""},
		{lack, "", "skip"},
		{lack, "0", "skip"},
		{lack, "1", "fatal"},
		{errors.New("does not start"), "", "fatal"},
	} {
		t.Setenv(RequireVariable, c.require)
		v := &verdict{TB: t}
		Met(v, c.err)
		// A real test ends at the first of these calls.
		if c.want == "" && v.said != "" || !strings.HasPrefix(v.said, c.want) {
			t.Errorf("%v with %s=%q: %q, want %q", c.err, RequireVariable, c.require, v.said, c.want)
		}
	}
}
