package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"walpost/cmd/walpost/internal/adminclient"
	"walpost/cmd/walpost/internal/config"
)

// statusFlags are the verb's own.
type statusFlags struct {
	adminFlags
	json, watch bool
}

func (a *app) statusCommand() *cobra.Command {
	var flags statusFlags
	cmd := leaf(&cobra.Command{
		Use:   "status",
		Short: "Show how the relay is doing; exit 3 if it is not well",
		Long: `status asks the running relay, at the address where it listens by this configuration, and prints
what it says of itself. When no relay answers there, it prints what Postgres knows of the slot.

Exit codes: 0 the relay is well: it streams, or stands by behind one that does; 3 it is not, or
the slot is lost, or there is no relay; 1 that cannot be told: Postgres does not answer either,
or a relay runs that has to be asked elsewhere.`,
		Example: `  walpost status
  walpost status --watch
  walpost status --json | jq .slot.retained_bytes
  walpost status --address 10.0.0.7:8488 --login-file /run/secrets/admin`,
		RunE: verb(func(cmd *cobra.Command) error { return a.status(cmd, flags) }),
	})
	cmd.Flags().BoolVar(&flags.json, "json", false, "print the JSON of /api/status, on one line; with --watch one line a look")
	cmd.Flags().BoolVar(&flags.watch, "watch", false, "print it again every two seconds, until told to stop; a line each where there is no terminal")
	flags.add(cmd)
	return cmd
}

const watchEvery = 2 * time.Second

func (a *app) status(cmd *cobra.Command, flags statusFlags) error {
	cfg, client, err := a.loadConfigAndClient(cmd, flags.adminFlags)
	if err != nil {
		return err
	}
	if !flags.watch {
		v, err := queryStatus(cmd.Context(), cfg, client)
		if err != nil {
			return err
		}
		if err := a.printStatus(v, flags.json, v.screen(time.Now())); err != nil {
			return err
		}
		return v.exit()
	}
	return a.watchStatus(cmd.Context(), cfg, client, flags.json)
}

// watchStatus prints until a signal comes.
func (a *app) watchStatus(ctx context.Context, cfg *config.Config, client *adminclient.Client, asJSON bool) error {
	signals, release := catchSignals()
	defer release()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		v, err := queryStatus(ctx, cfg, client)
		now := time.Now()
		text := ""
		switch {
		case err != nil && ctx.Err() == nil:
			if v, text = unknownStatus(cfg, err), fmt.Sprintf("%s cannot tell: %v\n", now.Format(time.TimeOnly), err); asJSON {
				fmt.Fprint(a.stderr, "walpost: "+text)
			}
		case err != nil:
			return nil
		case terminal(a.stdout):
			text = "\x1b[H\x1b[2J" + v.screen(now)
		default:
			text = v.line(now)
		}
		if err := a.printStatus(v, asJSON, text); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
			return nil
		case <-tick.C:
		}
	}
}

func (a *app) printStatus(v *statusView, asJSON bool, text string) error {
	if asJSON {
		text = string(v.text)
	}
	_, err := fmt.Fprint(a.stdout, text)
	return err
}
