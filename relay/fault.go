package relay

import (
	"errors"
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
func (f *fault) Error() string { return withCure(f.err, f.cure) }

// Unwrap returns the error.
func (f *fault) Unwrap() error { return f.err }

// Permanent reports that a retry cannot help. Whoever gets an error from [Relay.Run] may ask for it.
func (f *fault) Permanent() bool { return true }

// wait is an error that time cures, with what a person can do about it.
type wait struct {
	err  error
	cure string
}

// Error tells the error and its cure on one line.
func (w *wait) Error() string { return withCure(w.err, w.cure) }

// Unwrap returns the error.
func (w *wait) Unwrap() error { return w.err }

// withCure puts an error and its cure on one line.
func withCure(err error, cure string) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ") // joined errors stand on lines
	if cure == "" {
		return text
	}
	return text + "; " + cure
}

// judged tells whether it has been said what err is.
func judged(err error) bool {
	var f *fault
	var w *wait
	return errors.As(err, &f) || errors.As(err, &w)
}
