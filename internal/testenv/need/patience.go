package need

import (
	"os"
	"time"
)

// PatienceVariable is the environment variable that sets [Patience], as a duration such as 15s, for runs that are meant to fail.
const PatienceVariable = "WALPOST_TEST_PATIENCE"

// Patience returns how long a test waits for something to happen before it fails. It is long, because machines that run tests are busy, and
// no healthy run needs that much.
func Patience() time.Duration {
	if d, err := time.ParseDuration(os.Getenv(PatienceVariable)); err == nil && d > 0 {
		return d
	}
	return time.Minute
}
