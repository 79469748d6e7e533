package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"walpost/cmd/walpost/internal/config"
)

// command builds the tree of commands.
func (a *app) command() *cobra.Command {
	root := group(&cobra.Command{
		Use:   "walpost",
		Short: "Carry committed outbox rows from Postgres to Kafka",
		Long: `walpost reads the rows that services insert into an outbox table from the WAL of Postgres,
and publishes them to Kafka. Only after all in-sync replicas have acknowledged them may Postgres
discard the WAL.

Configuration: flags override WALPOST_* variables, these override a YAML file, and that overrides
the defaults.
Exit codes: 0 done, 1 failed, 2 wrong command line or configuration, 3 a check found a problem,
130 a second signal.`,
		Example: `  walpost schema apply --app-role shop_app --relay-role walpost
  walpost run --kafka kafka:9092
  walpost run -c walpost.yaml -X compression.type=lz4`,
		Version:       thisBuild().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
	})
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	a.addFlags(root)
	root.SetHelpCommand(helpCommand(root))
	root.AddCommand(a.runCommand(), a.schemaCommand(), a.doctorCommand(), a.statusCommand(), a.tailCommand(), a.slotCommand(), a.deadLetterCommand(), a.configCommand(), a.versionCommand())
	return root
}

func (a *app) addFlags(root *cobra.Command) {
	f, v := root.PersistentFlags(), &a.flags
	f.SortFlags = false
	f.StringVarP(&v.config, "config", "c", "", "configuration `file` (default ./walpost.yaml if it exists)")
	f.StringVar(&v.url, "postgres-url", "", "database, as a `url` or as libpq's keywords; without a password, because the process list shows it")
	f.StringVar(&v.slot, "slot", "", "`name` of the replication slot")
	f.StringVar(&v.kafka, "kafka", "", "Kafka's bootstrap servers: `host:port`, separated by commas")
	f.StringVar(&v.table, "table", "", "outbox table, as `schema.table`")
	f.StringArrayVarP(&v.properties, "property", "X", nil, "set a Kafka property, such as `linger.ms=5`; may be repeated; does not accept passwords")
	f.StringVar(&v.logFormat, "log-format", "", "`text` or json (default text on a terminal, else json)")
	f.StringVar(&v.logLevel, "log-level", "info", "`level` of the log: debug, info, warn or error")
	for flag, complete := range map[string]cobra.CompletionFunc{
		"log-format": cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp),
		"log-level":  cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp),
		"property": func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var keys []string
			for _, k := range config.KafkaKeys() {
				keys = append(keys, k+"=")
			}
			return keys, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
		},
	} {
		if err := root.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // there is no such flag: a bug in this function
		}
	}
}

// leaf makes a command refuse arguments. The error does not repeat them: a URL with its password may be among them.
func leaf(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("%s takes flags only, no arguments; see walpost %[1]s --help", name(cmd))
		}
		return nil
	}
	return cmd
}

// group makes a command that only has subcommands print its help if no subcommand is named.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			cmd.SetOut(cmd.ErrOrStderr())
			return &exitError{exitUsage, cmd.Help()}
		}
		return unknown(cmd, args[0])
	}
	return cmd
}

// unknown returns the error for a subcommand that cmd does not have. The error repeats only as much of arg as could be a command's name:
// arg may be a URL with a password.
func unknown(cmd *cobra.Command, arg string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	what := name(cmd) + " has the commands " + strings.Join(names, ", ")
	if near := config.Nearest(arg, names); near != "" {
		what += "; did you mean " + near + "?"
	}
	return fmt.Errorf("unknown command %s; %s", config.PrintableName(arg), what)
}

// helpCommand replaces the help command of the library, which prints help and succeeds for a command that does not exist. Here that is an
// error like any other.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Show the help of a command",
		Args:  cobra.ArbitraryArgs,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			if cmd, rest, err := root.Find(args); err == nil && len(rest) == 0 {
				for _, sub := range cmd.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, sub.Name())
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			switch {
			case err != nil:
				return err
			case len(rest) > 0 && cmd.HasAvailableSubCommands():
				return unknown(cmd, rest[0])
			case len(rest) > 0:
				return fmt.Errorf("%s has no subcommands; see walpost help %[1]s", name(cmd))
			}
			return cmd.Help()
		},
	}
}

// name returns the command's path without the program's name, with which every error begins anyway.
func name(cmd *cobra.Command) string { return strings.TrimPrefix(cmd.CommandPath(), "walpost ") }

// flagError returns an error that says what is wrong with a flag. The library's error would quote the argument, and a URL in it.
func flagError(cmd *cobra.Command, err error) error {
	see := "; see " + cmd.CommandPath() + " --help"
	const short = "; a long name has two dashes"
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return errors.New("unknown flag -" + unknown.GetSpecifiedName() + short + see)
	case errors.As(err, &unknown):
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := config.Nearest(unknown.GetSpecifiedName(), names); near != "" {
			see = "; did you mean --" + near + "?"
		}
		return errors.New("unknown flag --" + unknown.GetSpecifiedName() + see)
	case errors.As(err, &missing):
		return errors.New("flag --" + missing.GetFlag().Name + " needs a value" + see)
	case errors.Is(err, pflag.ErrHelp):
		return err
	}
	return errors.New("a flag has an invalid value" + see)
}
