package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"walpost/relay/deadletter"
	"walpost/relay/postgres"
)

// completionTimeout is how long the completion of one word may take, with connecting.
const completionTimeout = time.Second

// complete adds the completion of values to the flags of cmd, which takes these states.
func (f *letterFlags) complete(a *app, cmd *cobra.Command, states []string) {
	fromTable := func(values func(context.Context, *pgx.Conn, string, []string) ([]string, error)) cobra.CompletionFunc {
		return a.completion(func(ctx context.Context, db *pgx.Conn, slot, prefix string) []string {
			states := f.states
			if states == nil {
				states = deadletter.Parked
			}
			list, _ := values(ctx, db, slot, states)
			return slices.DeleteFunc(list, func(v string) bool { return !strings.HasPrefix(v, prefix) || escaped(v) != v })
		})
	}
	for flag, complete := range map[string]cobra.CompletionFunc{
		"topic":  fromTable(deadletter.Topics),
		"reason": fromTable(deadletter.Reasons),
		"state":  completeStates(states),
	} {
		if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // there is no such flag: a bug in this function
		}
	}
}

// completeStates completes the last one of several states, which are separated by commas.
func completeStates(states []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) (list []string, _ cobra.ShellCompDirective) {
		before := typed[:strings.LastIndex(typed, ",")+1]
		chosen := strings.Split(before, ",")
		for _, state := range states {
			if !slices.Contains(chosen, state) && strings.HasPrefix(before+state, typed) {
				list = append(list, before+state)
			}
		}
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeIDs completes ids of dead letters in these states, with their topic, key and reason as the description. At most that many are
// taken; 0: any number.
func (a *app) completeIDs(most int, states ...string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completion(func(ctx context.Context, db *pgx.Conn, slot, prefix string) (list []string) {
			letters, _ := deadletter.IDs(ctx, db, slot, states, prefix)
			for _, l := range letters {
				if id := fmt.Sprint(l.ID); !slices.Contains(args, id) {
					list = append(list, fmt.Sprintf("%s\t%s %s %s", id, orDash(l.Topic), shownKey(l.Key), printable(l.Reason)))
				}
			}
			return list
		})(cmd, args, typed)
	}
}

// completion returns a completion that asks the database. If anything is wrong, it completes nothing and says nothing: the user is in the
// middle of a line.
func (a *app) completion(list func(ctx context.Context, db *pgx.Conn, slot, prefix string) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		const nothing = cobra.ShellCompDirectiveNoFileComp
		cfg, err := a.readConfig(cmd)
		if err != nil {
			return nil, nothing
		}
		c, err := cfg.PostgresConfig()
		if err != nil {
			return nil, nothing
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		db, err := postgres.Connect(ctx, c.ConnString)
		if err != nil {
			return nil, nothing
		}
		defer db.Close()
		return list(ctx, db.Conn, cfg.Postgres.Slot, typed), nothing
	}
}
