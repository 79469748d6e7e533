package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"walpost/cmd/walpost/internal/config"
)

// command builds the tree of verbs.
func (a *app) command() *cobra.Command {
	root := group(&cobra.Command{
		Use:   "walpost",
		Short: "Carry committed outbox rows from Postgres to Kafka",
		Long: `walpost reads the rows that services insert into an outbox table from the WAL of Postgres,
publishes them to Kafka, and tells Postgres what it may forget once all in-sync replicas
have acknowledged them.

Configuration: flags over WALPOST_* variables over a YAML file over defaults.
Exit codes: 0 done, 1 failed, 2 wrong command line or configuration, 3 a check found something,
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
	root.AddCommand(a.runCommand(), a.schemaCommand(), a.doctorCommand(), a.statusCommand(), a.tailCommand(), a.slotCommand(), a.configCommand(), a.versionCommand())
	return root
}

func (a *app) addFlags(root *cobra.Command) {
	f, v := root.PersistentFlags(), &a.flags
	f.SortFlags = false
	f.StringVarP(&v.config, "config", "c", "", "configuration `file` (default ./walpost.yaml if it is there)")
	f.StringVar(&v.url, "postgres-url", "", "database, as libpq takes it: a `url` or keywords; visible in the process list, so without a password")
	f.StringVar(&v.slot, "slot", "", "replication slot's `name`")
	f.StringVar(&v.kafka, "kafka", "", "Kafka's bootstrap servers, `host:port` with commas between several")
	f.StringVar(&v.table, "table", "", "outbox table, as `schema.table`")
	f.StringArrayVarP(&v.properties, "property", "X", nil, "set a Kafka property, as `linger.ms=5`; may be repeated; takes no passwords")
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
			panic(err) // no such flag: broken here
		}
	}
}

// leaf makes a command refuse arguments, without a word of them: a URL with its password may be among them.
func leaf(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("%s takes flags only, no arguments; see walpost %[1]s --help", name(cmd))
		}
		return nil
	}
	return cmd
}

// group makes a command that only holds others say so when none of them is named.
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

// unknown is the error of a command that cmd does not have. No more of it is repeated than a command's name can be: it may be a URL.
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

// helpCommand is the library's, but for what it says of a command that there is not: that is an error like any other.
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
				return fmt.Errorf("%s has no commands below it; see walpost help %[1]s", name(cmd))
			}
			return cmd.Help()
		},
	}
}

// name is a command as errors have it, which begin with the program's name anyway.
func name(cmd *cobra.Command) string { return strings.TrimPrefix(cmd.CommandPath(), "walpost ") }

// flagError says what is wrong with a flag. The library's own words quote the argument, and a URL in it.
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
		return errors.New("flag --" + missing.GetFlag().Name + " wants a value" + see)
	case errors.Is(err, pflag.ErrHelp):
		return err
	}
	return errors.New("a flag is not as it should be" + see)
}
