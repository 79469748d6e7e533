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

// warn says on stderr what a verb that does not log has to warn of.
func (a *app) warn(text string) { fmt.Fprintf(a.stderr, "walpost: warning: %s\n", text) }

// loadConfig loads and checks the configuration, and says what it warns of.
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

// loadPostgresConfig loads the configuration, and what says where and what to read, but for a logger.
func (a *app) loadPostgresConfig(cmd *cobra.Command) (*config.Config, postgres.Config, error) {
	cfg, err := a.loadConfig(cmd)
	if err != nil {
		return nil, postgres.Config{}, err
	}
	c, err := cfg.PostgresConfig()
	return cfg, c, err
}
