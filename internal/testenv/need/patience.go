package need

import (
	"os"
	"time"
)

// PatienceVariable names the environment variable that shortens
// [Patience], as a duration such as 15s: for runs that are meant to fail.
const PatienceVariable = "WALPOST_TEST_PATIENCE"

// Patience is how long a test waits for a fact before it fails. Generous:
// machines that run tests are busy, and no healthy run comes near it.
func Patience() time.Duration {
	if d, err := time.ParseDuration(os.Getenv(PatienceVariable)); err == nil && d > 0 {
		return d
	}
	return time.Minute
}
