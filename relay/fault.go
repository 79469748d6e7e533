package relay

import (
	"fmt"
	"strings"
)

// fault is an error that only a person can cure, with the cure. Every other error of this package is retried.
type fault struct {
	err  error
	cure string
}

// permanent makes a fault of err. The cure is a sentence's end: what to run, to grant or to set.
func permanent(err error, cure string, args ...any) error {
	return &fault{err: err, cure: fmt.Sprintf(cure, args...)}
}

// Error tells the error and its cure on one line.
func (f *fault) Error() string {
	text := strings.ReplaceAll(f.err.Error(), "\n", "; ") // joined errors stand on lines
	if f.cure == "" {
		return text
	}
	return text + "; " + f.cure
}

// Unwrap returns the error.
func (f *fault) Unwrap() error { return f.err }

// Permanent reports that a retry cannot help. Whoever gets an error from [Relay.Run] may ask for it.
func (f *fault) Permanent() bool { return true }
