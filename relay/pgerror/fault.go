package pgerror

import (
	"errors"
	"fmt"
	"strings"

	"walpost/internal/reason"
)

// Fault is an error that only a person can cure, with the cure: what to run, to grant or to set.
type Fault struct {
	Err  error
	Code reason.Code
	Cure string
}

// Permanent returns a *[Fault] of err. The cure is the end of a sentence and may have verbs of package fmt.
func Permanent(code reason.Code, err error, cure string, args ...any) error {
	return &Fault{Err: err, Code: code, Cure: fmt.Sprintf(cure, args...)}
}

// Error tells the error and its cure on one line.
func (f *Fault) Error() string { return withCure(f.Err, f.Cure) }

// Unwrap returns the error.
func (f *Fault) Unwrap() error { return f.Err }

// Permanent reports that a retry cannot help. Callers ask for it by an interface, so that no package is shared for that.
func (f *Fault) Permanent() bool { return true }

// Reason returns the code. Callers ask for it by [reason.Of].
func (f *Fault) Reason() reason.Code { return f.Code }

// Wait is an error that time cures, with what a person can do to cure it sooner.
type Wait struct {
	Err  error
	Code reason.Code
	Cure string
}

// Error tells the error and its cure on one line.
func (w *Wait) Error() string { return withCure(w.Err, w.Cure) }

// Unwrap returns the error.
func (w *Wait) Unwrap() error { return w.Err }

// Reason returns the code.
func (w *Wait) Reason() reason.Code { return w.Code }

// withCure puts an error and its cure on one line.
func withCure(err error, cure string) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ") // joined errors stand on lines
	if cure == "" {
		return text
	}
	return text + "; " + cure
}

// classified reports whether err is a fault or a wait already.
func classified(err error) bool {
	var f *Fault
	var w *Wait
	return errors.As(err, &f) || errors.As(err, &w)
}

// IsPermanent reports whether a retry cannot help. Any package may say so of its errors, by a method Permanent.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}
