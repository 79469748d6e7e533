package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// Exit codes. Scripts rely on them.
const (
	exitRuntime   = 1
	exitUsage     = 2 // a command line or a configuration that cannot work
	exitDifferent = 3 // a check that found something
)

// exitError is an error that chooses the exit code.
type exitError struct {
	code int
	err  error // nil: what there is to say has been said
}

func (e *exitError) Error() string { return fmt.Sprintf("exit %d: %v", e.code, e.err) }
func (e *exitError) Unwrap() error { return e.err }

// verb gives the errors of a verb the code for what goes wrong while it works, unless they have one.
func verb(do func(cmd *cobra.Command) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		err := do(cmd)
		if err == nil || errors.As(err, new(*exitError)) {
			return err
		}
		return &exitError{exitRuntime, err}
	}
}

// unjoin takes apart what errors.Join put together.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// configProblems takes apart what makes a configuration wrong.
func configProblems(err error) []error {
	var exit *exitError
	if errors.As(err, &exit) {
		err = exit.err
	}
	return unjoin(err)
}
