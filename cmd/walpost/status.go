package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"walpost/cmd/walpost/internal/adminclient"
	"walpost/cmd/walpost/internal/config"
)

// statusFlags are the flags of this command.
type statusFlags struct {
	adminFlags
	json, watch bool
}

func (a *app) statusCommand() *cobra.Command {
	var flags statusFlags
	cmd := leaf(&cobra.Command{
		Use:   "status",
		Short: "Show the relay's state; exit 3 if it is not well",
		Long: `status asks the running relay for its state and prints it. It asks at admin.listen, or at --address.
If no relay answers there, it prints what Postgres knows about the slot. A relay at
admin.listen that streams another slot than postgres.slot does not count.

Exit codes: 0 the relay is well: it streams, or stands by behind one that does; 3 it is not well, or
the slot is lost, or there is no relay; 1 the state is unknown: Postgres does not answer either, or
the relay runs elsewhere and has to be asked there.`,
		Example: `  walpost status
  walpost status --watch
  walpost status --json | jq .slot.retained_bytes
  walpost status --address 10.0.0.7:8488 --login-file /run/secrets/admin`,
		RunE: verb(func(cmd *cobra.Command) error { return a.status(cmd, flags) }),
	})
	cmd.Flags().BoolVar(&flags.json, "json", false, "print the JSON of /api/status, on one line; with --watch, one line each time")
	cmd.Flags().BoolVar(&flags.watch, "watch", false, "print the state every two seconds, until stopped; one line each time if the output is not a terminal")
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
		v, err := queryStatus(cmd.Context(), cfg, client, flags.address != "")
		if err != nil {
			return err
		}
		if err := a.printStatus(v, flags.json, v.screen(time.Now())); err != nil {
			return err
		}
		return v.exit()
	}
	return a.watchStatus(cmd.Context(), cfg, client, flags)
}

// watchStatus prints the state every two seconds, until a signal comes.
func (a *app) watchStatus(ctx context.Context, cfg *config.Config, client *adminclient.Client, flags statusFlags) error {
	anyRelay, asJSON := flags.address != "", flags.json
	signals, release := catchSignals()
	defer release()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		v, err := queryStatus(ctx, cfg, client, anyRelay)
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
