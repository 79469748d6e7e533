package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// Exit codes. Scripts rely on them.
const (
	exitRuntime   = 1 // of run: a person has to act, because another start would fail, too
	exitUsage     = 2 // a command line or a configuration that cannot work
	exitDifferent = 3 // a check found a problem

	// exitSecondSignal is the code that shells report for a program that SIGINT ended. Nobody has to act on it.
	exitSecondSignal = 130
)

// exitError is an error that chooses the exit code.
type exitError struct {
	code int
	err  error // nil: the error has been printed or logged already
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// verb returns do as cobra's RunE. An error that chooses no exit code gets exitRuntime.
func verb(do func(cmd *cobra.Command) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		err := do(cmd)
		if err == nil || errors.As(err, new(*exitError)) {
			return err
		}
		return &exitError{exitRuntime, err}
	}
}

// exitCode returns the code that an error chose, or else exitRuntime.
func exitCode(err error) int {
	if exit := (*exitError)(nil); errors.As(err, &exit) {
		return exit.code
	}
	return exitRuntime
}

// unjoin returns the errors that errors.Join has joined.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// configProblems returns the problems of a configuration, one error for each.
func configProblems(err error) []error {
	var exit *exitError
	if errors.As(err, &exit) {
		err = exit.err
	}
	return unjoin(err)
}
