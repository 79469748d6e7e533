package pgerror

import (
	"errors"
	"fmt"
	"testing"

	"walpost/internal/reason"
)

// temporary is an error of another package that says that a retry can help.
type temporary struct{ error }

func (temporary) Permanent() bool { return false }

// TestFault: a fault and its cure are on one line. It is permanent also when it is wrapped, and wraps the original error.
func TestFault(t *testing.T) {
	cause := errors.New("one")
	fault := Permanent(reason.SlotLost, errors.Join(cause, errors.New("two")), "run: %s", "this")
	if got := fault.Error(); got != "one; two; run: this" {
		t.Errorf("%q", got)
	}
	if got := Permanent(reason.SlotLost, cause, "").Error(); got != "one" {
		t.Errorf("without a cure: %q", got)
	}
	wait := &Wait{Err: cause, Cure: "start it"}
	if got := wait.Error(); got != "one; start it" {
		t.Errorf("a wait: %q", got)
	}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false}, {cause, false}, {wait, false}, {temporary{cause}, false}, {fault, true}, {fmt.Errorf("wrapped: %w", fault), true},
	} {
		if got := IsPermanent(c.err); got != c.want {
			t.Errorf("%v: permanent %v", c.err, got)
		}
	}
	if !errors.Is(fault, cause) || !errors.Is(wait, cause) {
		t.Error("the cause is not wrapped")
	}
}
