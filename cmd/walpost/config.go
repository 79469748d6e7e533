package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "config",
		Short: "Show or check the configuration",
		Long: `Keys are named as in the YAML file. The environment variable of a key is WALPOST_ and the key in
capitals, with underscores for dots: kafka.bootstrap.servers is WALPOST_KAFKA_BOOTSTRAP_SERVERS.
A secret may also be in a file of its own: postgres.url_file, WALPOST_POSTGRES_URL_FILE.
walpost reads that file again for each connection, so you can rotate the secret without a restart.`,
	})
	cmd.AddCommand(
		leaf(&cobra.Command{
			Use:   "print",
			Short: "Print the effective configuration as YAML, with secrets masked",
			Long:  "Print the effective configuration as YAML, with secrets masked. A comment after each value that is not the default says where it was set.",
			Example: `  walpost config print
  walpost config print -c walpost.yaml -X linger.ms=5`,
			RunE: verb(a.configPrint),
		}),
		leaf(&cobra.Command{
			Use:     "validate",
			Short:   "Check the configuration, without connecting to anything",
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
	_, err := fmt.Fprintln(a.stdout, "configuration: no problems found")
	return err
}
