package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"walpost/cmd/walpost/internal/config"
	"walpost/relay/postgres"
)

// app is one run of the program.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	flags          flags
	newRelay       newRelayFunc
}

// flags are the flags that every command has, as typed.
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
	cmd.SetArgs(append([]string{}, args...)) // cobra would take nil for the arguments of the process
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) { // verb gives the errors of commands a code, so this one is about the command line
		exit = &exitError{exitUsage, err}
	}
	for _, e := range unjoin(exit.err) {
		fmt.Fprintf(a.stderr, "walpost: %v\n", e)
	}
	return exit.code
}

// warn prints a warning to stderr, for commands that have no log.
func (a *app) warn(text string) { fmt.Fprintf(a.stderr, "walpost: warning: %s\n", text) }

// loadConfig loads and checks the configuration, and prints its warnings.
func (a *app) loadConfig(cmd *cobra.Command) (*config.Config, error) {
	cfg, err := a.readConfig(cmd)
	if err != nil {
		return nil, err
	}
	for _, w := range cfg.Warnings() {
		a.warn(w)
	}
	return cfg, nil
}

// readConfig loads and checks the configuration.
func (a *app) readConfig(cmd *cobra.Command) (*config.Config, error) {
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
			return nil, &exitError{exitUsage, errors.New("-X needs key=value, for example -X linger.ms=5")}
		}
		sources.Flags = append(sources.Flags, config.Flag{Name: "-X " + key, Path: "kafka." + key, Value: value})
	}
	if cmd.Flags().Changed("config") && a.flags.config == "" {
		return nil, &exitError{exitUsage, errors.New("--config is empty; name a file")}
	}
	cfg, err := config.Load(sources)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return cfg, nil
}

// loadPostgresConfig loads the configuration and returns its part about Postgres, too. The caller sets the logger.
func (a *app) loadPostgresConfig(cmd *cobra.Command) (*config.Config, postgres.Config, error) {
	cfg, err := a.loadConfig(cmd)
	if err != nil {
		return nil, postgres.Config{}, err
	}
	c, err := cfg.PostgresConfig()
	return cfg, c, err
}
