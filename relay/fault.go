package relay

import (
	"errors"
	"fmt"
	"strings"
)

// fault is an error that only a person can cure, with the cure. Every other error of this package is retried.
type fault struct {
	Err  error
	Cure string
}

// Permanent makes a fault of err. The cure is a sentence's end: what to run, to grant or to set.
func Permanent(err error, cure string, args ...any) error {
	return &fault{Err: err, Cure: fmt.Sprintf(cure, args...)}
}

// Error tells the error and its cure on one line.
func (f *fault) Error() string { return withCure(f.Err, f.Cure) }

// Unwrap returns the error.
func (f *fault) Unwrap() error { return f.Err }

// Permanent reports that a retry cannot help. Whoever gets an error from [Relay.Run] may ask for it.
func (f *fault) Permanent() bool { return true }

// wait is an error that time cures, with what a person can do about it.
type wait struct {
	Err  error
	Cure string
}

// Error tells the error and its cure on one line.
func (w *wait) Error() string { return withCure(w.Err, w.Cure) }

// Unwrap returns the error.
func (w *wait) Unwrap() error { return w.Err }

// withCure puts an error and its cure on one line.
func withCure(err error, cure string) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ") // joined errors stand on lines
	if cure == "" {
		return text
	}
	return text + "; " + cure
}

// classified tells whether it has been said what err is.
func classified(err error) bool {
	var f *fault
	var w *wait
	return errors.As(err, &f) || errors.As(err, &w)
}

// IsPermanent tells whether a retry cannot help. Any package may say so of its errors.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}
