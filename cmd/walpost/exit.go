package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// Exit codes. Scripts rely on them.
const (
	exitRuntime   = 1 // of run: a person is needed, and another start will not help
	exitUsage     = 2 // a command line or a configuration that cannot work
	exitDifferent = 3 // a check that found something

	// exitSecondSignal is what shells say of a program that a SIGINT ended: nobody has to do anything about it.
	exitSecondSignal = 130
)

// exitError is an error that chooses the exit code.
type exitError struct {
	code int
	err  error // nil: what there is to say has been said
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

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

// exitCode returns the code that an error chose, else that of what went wrong while the program worked.
func exitCode(err error) int {
	if exit := (*exitError)(nil); errors.As(err, &exit) {
		return exit.code
	}
	return exitRuntime
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
