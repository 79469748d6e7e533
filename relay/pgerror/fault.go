package pgerror

import (
	"errors"
	"fmt"
	"strings"
)

// Fault is an error that only a person can cure, with the cure. Every other error of this package is retried.
type Fault struct {
	Err  error
	Cure string
}

// Permanent makes a fault of err. The cure is a sentence's end: what to run, to grant or to set.
func Permanent(err error, cure string, args ...any) error {
	return &Fault{Err: err, Cure: fmt.Sprintf(cure, args...)}
}

// Error tells the error and its cure on one line.
func (f *Fault) Error() string { return withCure(f.Err, f.Cure) }

// Unwrap returns the error.
func (f *Fault) Unwrap() error { return f.Err }

// Permanent reports that a retry cannot help. Whoever gets an error from [Relay.Run] may ask for it.
func (f *Fault) Permanent() bool { return true }

// Wait is an error that time cures, with what a person can do about it.
type Wait struct {
	Err  error
	Cure string
}

// Error tells the error and its cure on one line.
func (w *Wait) Error() string { return withCure(w.Err, w.Cure) }

// Unwrap returns the error.
func (w *Wait) Unwrap() error { return w.Err }

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
	var f *Fault
	var w *Wait
	return errors.As(err, &f) || errors.As(err, &w)
}

// IsPermanent tells whether a retry cannot help. Any package may say so of its errors.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}
