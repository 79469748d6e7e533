package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "config",
		Short: "Show or check the configuration",
		Long: `Keys are those of the YAML file. The environment variable of a key is WALPOST_ and its path in
capitals, dots as underscores: kafka.bootstrap.servers is WALPOST_KAFKA_BOOTSTRAP_SERVERS.
A secret may also be given as a file that holds it: postgres.url_file, WALPOST_POSTGRES_URL_FILE.
It is read anew for each connection, so it can be rotated without a restart.`,
	})
	cmd.AddCommand(
		leaf(&cobra.Command{
			Use:   "print",
			Short: "Print the effective configuration as YAML, secrets masked",
			Long:  "Print the effective configuration as YAML, secrets masked. Behind what is no default stands where it was set.",
			Example: `  walpost config print
  walpost config print -c walpost.yaml -X linger.ms=5`,
			RunE: verb(a.configPrint),
		}),
		leaf(&cobra.Command{
			Use:     "validate",
			Short:   "Check the configuration; connects to nothing",
			Example: `  walpost config validate -c walpost.yaml`,
			RunE:    verb(a.configValidate),
		}),
	)
	return cmd
}

func (a *app) configPrint(cmd *cobra.Command) error {
	cfg, err := a.loadConfig(cmd)
	if err != nil {
		return err
	}
	return cfg.Print(a.stdout)
}

func (a *app) configValidate(cmd *cobra.Command) error {
	if _, err := a.loadConfig(cmd); err != nil {
		return err
	}
	_, err := fmt.Fprintln(a.stdout, "configuration: nothing wrong")
	return err
}
