package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"walpost/cmd/walpost/internal/config"
	"walpost/relay"
)

// Exit codes. Scripts rely on them.
const (
	exitRuntime   = 1
	exitUsage     = 2 // a command line or a configuration that cannot work
	exitDifferent = 3 // a check that found something
)

// app is one run of the program.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	flags          flags
	newRelay       newRelayFunc
}

// flags are those of every verb, as typed.
type flags struct {
	config              string
	url, slot           string
	kafka, table        string
	properties          []string
	logFormat, logLevel string
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: stderr, newRelay: newRelay}
}

func (a *app) execute(ctx context.Context, args []string) int {
	cmd := a.command()
	cmd.SetIn(a.stdin)
	cmd.SetOut(a.stdout)
	cmd.SetErr(a.stderr)
	cmd.SetArgs(append([]string{}, args...)) // nil would be the process's own
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) { // whatever no verb returned is about the command line
		exit = &exitError{exitUsage, err}
	}
	for _, e := range unjoin(exit.err) {
		fmt.Fprintf(a.stderr, "walpost: %v\n", e)
	}
	return exit.code
}

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

// loadConfig loads and checks the configuration.
func (a *app) loadConfig(cmd *cobra.Command) (*config.Config, error) {
	sources := config.Sources{File: a.flags.config, Environ: os.Environ()}
	set := func(flag, path, value string) {
		if cmd.Flags().Changed(flag) {
			sources.Flags = append(sources.Flags, config.Flag{Name: "--" + flag, Path: path, Value: value})
		}
	}
	set("postgres-url", "postgres.url", a.flags.url)
	set("slot", "postgres.slot", a.flags.slot)
	set("kafka", "kafka.bootstrap.servers", a.flags.kafka)
	set("table", "outbox.table", a.flags.table)
	set("log-level", "log.level", a.flags.logLevel)
	for _, p := range a.flags.properties {
		key, value, ok := strings.Cut(p, "=")
		if !ok {
			return nil, &exitError{exitUsage, errors.New("-X wants key=value, as -X linger.ms=5")}
		}
		sources.Flags = append(sources.Flags, config.Flag{Name: "-X " + key, Path: "kafka." + key, Value: value})
	}
	if cmd.Flags().Changed("config") && a.flags.config == "" {
		return nil, &exitError{exitUsage, errors.New("--config names no file")}
	}
	cfg, err := config.Load(sources)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return cfg, nil
}

// loadRelayConfig loads the configuration, and what package relay needs of it but for a log.
func (a *app) loadRelayConfig(cmd *cobra.Command) (*config.Config, relay.Config, error) {
	cfg, err := a.loadConfig(cmd)
	if err != nil {
		return nil, relay.Config{}, err
	}
	c, err := cfg.RelayConfig()
	return cfg, c, err
}

// configProblems takes apart what makes a configuration wrong.
func configProblems(err error) []error {
	var exit *exitError
	if errors.As(err, &exit) {
		err = exit.err
	}
	return unjoin(err)
}

// logger returns the log, as the flags want it: text for people at a terminal, else JSON. Its level may be set later, too.
func (a *app) logger(cfg *config.Config) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	_ = level.UnmarshalText([]byte(cfg.Log.Level)) // knows all that are valid
	options := &slog.HandlerOptions{Level: level}
	format := a.flags.logFormat
	if format == "" && terminal(a.stderr) {
		format = "text"
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(a.stderr, options)), level, nil
	case "json", "":
		return slog.New(slog.NewJSONHandler(a.stderr, options)), level, nil
	}
	return nil, nil, &exitError{exitUsage, fmt.Errorf("--log-format %q is neither text nor json", format)}
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
