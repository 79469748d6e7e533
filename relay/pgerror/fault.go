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

// Permanent returns a *[Fault] of err. The text of the cure follows the error after a semicolon. It is a format string of package fmt.
func Permanent(code reason.Code, err error, cure string, args ...any) error {
	return &Fault{Err: err, Code: code, Cure: fmt.Sprintf(cure, args...)}
}

// Error returns the error and its cure on one line.
func (f *Fault) Error() string { return withCure(f.Err, f.Cure) }

// Unwrap returns the error.
func (f *Fault) Unwrap() error { return f.Err }

// Permanent reports that a retry cannot help. Callers use it through an interface, so that they need not share a package.
func (f *Fault) Permanent() bool { return true }

// Reason returns the reason code. Callers use [reason.Of].
func (f *Fault) Reason() reason.Code { return f.Code }

// Wait is an error that may end by itself. Cure is what a person can do to end it sooner.
type Wait struct {
	Err  error
	Code reason.Code
	Cure string
}

// Error returns the error and its cure on one line.
func (w *Wait) Error() string { return withCure(w.Err, w.Cure) }

// Unwrap returns the error.
func (w *Wait) Unwrap() error { return w.Err }

// Reason returns the code.
func (w *Wait) Reason() reason.Code { return w.Code }

// withCure puts an error and its cure on one line.
func withCure(err error, cure string) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ") // joined errors have one line each
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

// IsPermanent reports whether a retry cannot help. An error of any package may have a method Permanent that says so.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}
