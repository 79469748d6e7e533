package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"walpost/cmd/walpost/internal/adminclient"
	"walpost/cmd/walpost/internal/config"
)

// adminFlags are the flags of commands that ask a running relay.
type adminFlags struct {
	address   string
	loginFile string
}

func (f *adminFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.address, "address", "", "address of the relay's admin server: `host:port` or https://host:port (default admin.listen)")
	cmd.Flags().StringVar(&f.loginFile, "login-file", "", "`file` with user:password, if admin.web_config asks for a login")
}

// loadConfigAndClient loads the configuration and returns a client for its relay.
func (a *app) loadConfigAndClient(cmd *cobra.Command, flags adminFlags) (*config.Config, *adminclient.Client, error) {
	cfg, err := a.loadConfig(cmd)
	if err != nil {
		return nil, nil, err
	}
	if warning := config.WorldReadable(flags.loginFile); warning != "" {
		a.warn("--login-file: " + warning)
	}
	client, err := newAdminClient(cfg, flags)
	return cfg, client, err
}

// newAdminClient returns a client for the address in --address, or else for admin.listen. It returns nil if both are empty.
func newAdminClient(cfg *config.Config, flags adminFlags) (*adminclient.Client, error) {
	address, from := flags.address, "--address"
	if address == "" {
		address, from = cfg.Admin.Listen, "admin.listen"
	}
	if address == "" {
		return nil, nil
	}
	client, err := adminclient.New(address)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%s %w", from, err)}
	}
	if flags.loginFile != "" {
		text, err := os.ReadFile(flags.loginFile)
		if err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("--login-file: %w", err)}
		}
		user, password, ok := strings.Cut(strings.TrimSpace(string(text)), ":")
		if !ok {
			return nil, &exitError{exitUsage, fmt.Errorf("--login-file %s does not hold user:password", flags.loginFile)}
		}
		if err := client.SetLogin(user, password); err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("%s: %w", from, err)}
		}
	}
	return client, nil
}
