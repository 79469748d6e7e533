package dbtest

import (
	"strings"
	"testing"

	"walpost/relay/pgerror"
)

// WantError checks that err contains these words and is one line.
func WantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one that says %q", words)
		return
	}
	for _, part := range words {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than a line", err)
	}
}

// WantPermanent checks that err is permanent, and what [WantError] checks. An error that is not permanent ends the test.
func WantPermanent(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil || !pgerror.IsPermanent(err) {
		t.Fatalf("%v is not permanent, want an error that is and says %q", err, words)
	}
	WantError(t, err, words...)
}
