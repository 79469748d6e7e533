package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"walpost/relay/deadletter"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
)

// letterFlags choose dead letters.
type letterFlags struct {
	event, topic, key, reason string
	states                    []string
	all, json, dryRun         bool
}

// add adds the flags that choose events in some of these states.
func (f *letterFlags) add(a *app, cmd *cobra.Command, states []string) {
	cmd.Flags().StringVar(&f.event, "event", "", "the event with this `id`, which consumers know")
	cmd.Flags().StringVar(&f.topic, "topic", "", "events of this `topic`")
	cmd.Flags().StringVar(&f.key, "key", "", "events of this `key`; as \\x and two hexadecimal digits a byte if it is no text")
	cmd.Flags().StringVar(&f.reason, "reason", "", "events with this reason `code`")
	what := "events in these `states`: " + strings.Join(states, ", ")
	if len(states) > len(deadletter.Parked) {
		what += " (default those that are parked: " + strings.Join(deadletter.Parked, ", ") + ")"
	}
	cmd.Flags().StringSliceVar(&f.states, "state", nil, what)
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	f.complete(a, cmd, states)
}

// change adds the flags of commands that change something.
func (f *letterFlags) change(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.all, "all", false, "every parked event")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would change, and change nothing")
}

// filter returns the filter of the flags and of the ids that are arguments.
func (f *letterFlags) filter(cmd *cobra.Command, args []string) (deadletter.Filter, error) {
	filter := deadletter.Filter{Event: f.event, Topic: f.topic, Reason: f.reason}
	for _, name := range []string{"event", "topic", "reason", "state", "note"} {
		flag := cmd.Flags().Lookup(name)
		if flag == nil {
			continue
		}
		switch text := flag.Value.String(); {
		case !utf8.ValidString(text), strings.Contains(text, "\x00"):
			return filter, &exitError{exitUsage, fmt.Errorf("--%s is no text in UTF-8", name)}
		case flag.Changed && name != "note" && strings.Trim(text, "[]") == "": // a key may be empty, and discard asks for a note before
			return filter, &exitError{exitUsage, fmt.Errorf("--%s is empty: give it a value, or leave it out", name)}
		}
	}
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if errors.Is(err, strconv.ErrRange) { // no row can have it
			return filter, fmt.Errorf("the slot has no dead letter with id %s: walpost dead-letter list prints the ids", arg)
		}
		if err != nil {
			return filter, &exitError{exitUsage, fmt.Errorf("%s: an id is a number, as walpost dead-letter list prints it; for an event's own id use --event", cmd.CommandPath())}
		}
		filter.IDs = append(filter.IDs, id)
	}
	if cmd.Flags().Changed("key") {
		key := parseKey(f.key)
		filter.Key = &key
	}
	for _, state := range f.states {
		if !slices.Contains(deadletter.States, state) {
			return filter, &exitError{exitUsage, fmt.Errorf("--state: there is no state %q, only %s", state, strings.Join(deadletter.States, ", "))}
		}
		filter.States = append(filter.States, state)
	}
	return filter, nil
}

// chosen is like filter for a command that changes something: it has to be told what.
func (f *letterFlags) chosen(cmd *cobra.Command, args []string) (deadletter.Filter, error) {
	if f.all && (len(args) > 0 || f.event != "") { // before what is wrong with an id, because the command may mean none
		return deadletter.Filter{}, &exitError{exitUsage, fmt.Errorf("%s: --all means every parked event: leave it out, or leave out the ids and --event", cmd.CommandPath())}
	}
	filter, err := f.filter(cmd, args)
	if err == nil && !f.all && len(args) == 0 && f.event == "" && f.topic == "" && filter.Key == nil && f.reason == "" && f.states == nil {
		err = &exitError{exitUsage, fmt.Errorf("%s: name ids, or choose events with --event, --topic, --key, --reason or --state; --all means every parked event", cmd.CommandPath())}
	}
	return filter, err
}

func (a *app) deadLetterCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "dead-letter",
		Short: "List, retry or discard events that are parked",
		Long: `An event that Kafka can never take waits in walpost.dead_letters, and so do later events of the same
topic and key. All others flow. (With outbox.on_bad_event: halt, the relay stops instead.) These commands
work on the events of the slot that postgres.slot names, also while no relay runs.

--key takes a key in the form in which list prints it. A key that is no text is its bytes, as in Postgres:
--key '\xff00'. What looks like that is always taken for bytes. So the key that is the text \xff is given as
the bytes of these characters, '\x5c786666', and list prints it so.`,
	})
	cmd.AddCommand(a.deadLetterList(), a.deadLetterShow(), a.deadLetterRetry(), a.deadLetterDiscard())
	return cmd
}

func (a *app) deadLetterList() *cobra.Command {
	var flags letterFlags
	var byGroup bool
	cmd := leaf(&cobra.Command{
		Use:   "list",
		Short: "List parked events, in order",
		Example: `  walpost dead-letter list
  walpost dead-letter list --group
  walpost dead-letter list --key '\xff00'
  walpost dead-letter list --topic outbox.event.order --json | jq '.[].event_id'`,
		RunE: verb(func(cmd *cobra.Command) error { return a.listLetters(cmd, flags, byGroup) }),
	})
	flags.add(a, cmd, deadletter.States)
	nothingToTry(cmd)
	cmd.Flags().BoolVar(&flags.all, "all", false, "every parked event, as without any filter")
	cmd.Flags().BoolVar(&byGroup, "group", false, "count by topic, reason and state; an event without a key counts as an event, and not as a key")
	return cmd
}

// rowsAligned is how many rows of a list have columns of the same width. The next rows are printed while the database is still sending, so
// a long list takes little memory.
const rowsAligned = 1000

func (a *app) listLetters(cmd *cobra.Command, flags letterFlags, byGroup bool) error {
	filter, err := flags.filter(cmd, nil)
	if err != nil {
		return err
	}
	return a.withLetters(cmd, func(ctx context.Context, db *postgres.DB, slot string) error {
		if byGroup {
			groups, err := deadletter.Groups(ctx, db.Conn, slot, filter)
			if err != nil {
				return err
			}
			return a.printGroups(groups, flags.json, slot)
		}
		out := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0) // until Flush it keeps everything in memory
		n := 0
		err := deadletter.List(ctx, db.Conn, slot, filter, func(l deadletter.Letter) error {
			n++
			if flags.json {
				return a.printElement(n, l)
			}
			if n == 1 {
				fmt.Fprintln(out, "ID\tSTATE\tTOPIC\tKEY\tTYPE\tEVENT\tREASON\tATTEMPTS\tPARKED")
			}
			_, err := fmt.Fprintf(out, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", l.ID, printable(l.State), orDash(l.Topic), shownKey(l.Key), orDash(l.Type), orDash(l.EventID), printable(l.Reason), l.Attempts,
				l.ParkedAt.UTC().Format(time.RFC3339))
			if err == nil && n%rowsAligned == 0 {
				err = out.Flush()
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case flags.json && n == 0:
			_, err = fmt.Fprintln(a.stdout, "[]")
		case flags.json:
			_, err = fmt.Fprintln(a.stdout, "]")
		case n == 0:
			a.noEvents(slot)
		default:
			err = out.Flush()
		}
		return err
	})
}

// printElement prints the n-th element of a JSON array, one on each line.
func (a *app) printElement(n int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	before := ",\n"
	if n == 1 {
		before = "["
	}
	_, err = fmt.Fprintf(a.stdout, "%s%s", before, text)
	return err
}

// noEvents says that no event of the slot is chosen. It names the slot, because a mistyped one has none.
func (a *app) noEvents(slot string) {
	fmt.Fprintf(a.stderr, "no events match in slot %s\n", slot)
}

func (a *app) printGroups(groups []deadletter.Group, asJSON bool, slot string) error {
	if asJSON {
		if groups == nil {
			groups = []deadletter.Group{}
		}
		return json.NewEncoder(a.stdout).Encode(groups)
	}
	if len(groups) == 0 {
		a.noEvents(slot)
		return nil
	}
	out := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "EVENTS\tKEYS\tTOPIC\tREASON\tSTATE\tOLDEST")
	for _, g := range groups {
		fmt.Fprintf(out, "%d\t%d\t%s\t%s\t%s\t%s\n", g.Events, g.Keys, orDash(g.Topic), printable(g.Reason), printable(g.State), g.Oldest.UTC().Format(time.RFC3339))
	}
	return out.Flush()
}

func (a *app) deadLetterShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Print a dead letter, with the record that walpost wanted to send",
		Long: `show prints one dead letter, whatever its state. Characters that a terminal would act on, and bytes that
are no text, are shown as escapes such as \x1b. A key with such a character is shown as all its bytes, which --key takes.
--json has the exact bytes of the value.`,
		Example: `  walpost dead-letter show 17 --json | jq -r .value | base64 -d`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return verb(func(cmd *cobra.Command) error { return a.showLetter(cmd, args[0], asJSON) })(cmd, nil)
		},
		Args:              exactlyOneID,
		ValidArgsFunction: a.completeIDs(1, deadletter.Parked...),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; the value is in base64")
	nothingToTry(cmd)
	return cmd
}

// nothingToTry adds the flag --dry-run to a command that changes nothing anyway, so that scripts can give it to all of them.
func nothingToTry(cmd *cobra.Command) {
	cmd.Flags().Bool("dry-run", false, "no effect: this command changes nothing")
}

func exactlyOneID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s takes exactly one argument, an id that walpost dead-letter list prints; see %[1]s --help", cmd.CommandPath())
	}
	return nil
}

func (a *app) showLetter(cmd *cobra.Command, arg string, asJSON bool) error {
	filter, err := (&letterFlags{}).filter(cmd, []string{arg})
	if err != nil {
		return err
	}
	return a.withLetters(cmd, func(ctx context.Context, db *postgres.DB, slot string) error {
		c, err := deadletter.Show(ctx, db.Conn, slot, filter.IDs[0])
		switch {
		case err != nil:
			return err
		case c == nil:
			return &deadletter.MissingError{Slot: slot, IDs: filter.IDs}
		case asJSON:
			return json.NewEncoder(a.stdout).Encode(c)
		}
		return printContent(a.stdout, c)
	})
}

// printContent prints a dead letter for people.
func printContent(w io.Writer, c *deadletter.Content) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(out, "%s\t%s\n", name, value) }
	row("id", strconv.FormatInt(c.ID, 10))
	row("state", fmt.Sprintf("%s, since %s", printable(c.State), c.UpdatedAt.UTC().Format(time.RFC3339)))
	row("event", orDash(c.EventID))
	row("type", orDash(c.Type))
	row("topic", orDash(c.Topic))
	row("key", shownKey(c.Key))
	row("sequence", printable(c.Sequence))
	row("reason", printable(c.Reason))
	row("detail", lines(c.Detail))
	row("attempts", strconv.Itoa(c.Attempts))
	row("parked", c.ParkedAt.UTC().Format(time.RFC3339))
	row("note", lines(c.Note))
	row("actor", orDash(c.Actor))
	for _, h := range c.Headers {
		row("header "+printable(h.Name), orDash(h.Value))
	}
	row("value", fmt.Sprintf("%d bytes", len(c.Value)))
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", printableText(string(c.Value)))
	return err
}

// lines returns a text of several lines as the second column of a table.
func lines(s *string) string {
	if s == nil {
		return "-"
	}
	return strings.NewReplacer("\n", "\n\t", "\t", " ").Replace(printableText(*s))
}

func (a *app) deadLetterRetry() *cobra.Command {
	var flags letterFlags
	cmd := &cobra.Command{
		Use:   "retry [ID ...]",
		Short: "Publish parked events again, in order, and let their keys flow",
		Long: `retry gives parked events back to the relay. With an event go all parked events of its topic and key,
from the first one on. A running relay begins within two seconds; another one begins when it starts.
The records have the header walpost_replay: retry. If Kafka refuses an event again, it and those behind
it are parked as before.

Events with the reason topic_blocked wait for their topic, and need no retry: walpost publishes them when the
topic takes records. Events that are given back already, and ids of released or discarded ones, do not change: retry says how
many there are, and exits with 0. An id that is not there changes nothing, and the exit code is 1.`,
		Example: `  walpost dead-letter retry 17
  walpost dead-letter retry --topic outbox.event.order --reason message_too_large`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeIDs(0, "head", "waiting"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return verb(func(cmd *cobra.Command) error {
			return a.changeLetters(cmd, args, flags, "given back", "the relay publishes them when it runs", func(ctx context.Context, db *postgres.DB, slot string, f deadletter.Filter) (deadletter.Change, error) {
				return deadletter.GiveBack(ctx, db.Conn, slot, f, osUser(), flags.dryRun)
			})
		})(cmd, nil)
	}
	flags.add(a, cmd, deadletter.Parked)
	flags.change(cmd)
	return cmd
}

func (a *app) deadLetterDiscard() *cobra.Command {
	var flags letterFlags
	var note string
	cmd := &cobra.Command{
		Use:   "discard [ID ...] --note TEXT",
		Short: "Give parked events up: walpost does not publish them any more",
		Long: `discard gives up the events that are chosen, and only these. What waits behind them stays, until retry.
A key of which nothing is parked any more flows by itself. The rows stay for 30 days, with the note.
Many events are discarded in steps, and the relay goes on in between. Events that are parked meanwhile stay. If it
is interrupted, the error says how many events it has discarded; run it again for the rest.

Events that are given back at the moment, and ids of released or discarded ones, do not change: discard
says how many there are, and exits with 0. An id that is not there changes nothing, and the exit code is 1.`,
		Example:           `  walpost dead-letter discard 17 --note "test order, see ticket 4711"`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeIDs(0, "head", "waiting"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return verb(func(cmd *cobra.Command) error {
			if strings.TrimSpace(note) == "" {
				return &exitError{exitUsage, fmt.Errorf("%s: --note is missing: say why the events are given up", cmd.CommandPath())}
			}
			return a.changeLetters(cmd, args, flags, "discarded", "the relay publishes them when it runs; if Kafka refuses one again, discard it then", func(ctx context.Context, db *postgres.DB, slot string, f deadletter.Filter) (deadletter.Change, error) {
				return deadletter.Discard(ctx, db.Conn, slot, f, note, osUser(), flags.dryRun)
			})
		})(cmd, nil)
	}
	flags.add(a, cmd, deadletter.Parked)
	flags.change(cmd)
	cmd.Flags().StringVar(&note, "note", "", "why they are given up; required")
	return cmd
}

// changeLetters changes what is chosen, and says what it did. back is what it says of events that are given back already.
func (a *app) changeLetters(cmd *cobra.Command, args []string, flags letterFlags, done, back string,
	do func(context.Context, *postgres.DB, string, deadletter.Filter) (deadletter.Change, error)) error {
	filter, err := flags.chosen(cmd, args)
	if err != nil {
		return err
	}
	return a.withLetters(cmd, func(ctx context.Context, db *postgres.DB, slot string) error {
		c, err := do(ctx, db, slot, filter)
		if err != nil {
			return err
		}
		if flags.json {
			err = json.NewEncoder(a.stdout).Encode(map[string]any{"events": c.Events, "keys": c.Keys, "retrying": c.Busy, "waits_for_topic": c.Blocked, "over": c.Over, "unplaced": c.Unplaced, "dry_run": flags.dryRun})
		} else {
			err = a.printChange(c, flags.dryRun, done, back, postgres.Place(db.Conn), slot)
		}
		if err == nil && len(c.Unplaced) > 0 {
			err = fmt.Errorf("dead letters %s have a position that cannot be read or that lies beyond the WAL of this server, so the order of their keys is not known, and these keys stay parked: correct the column position, or discard these rows",
				deadletter.ListIDs(c.Unplaced))
		}
		return err
	})
}

// printChange says what a change did.
func (a *app) printChange(c deadletter.Change, dryRun bool, done, back, place, slot string) error {
	if dryRun {
		done = "would be " + done
	}
	var err error
	if c.Events > 0 {
		_, err = fmt.Fprintf(a.stdout, "%s: %s, in %s\n", done, eventsOf(c.Events, c.Keys), place)
	}
	if c.Busy > 0 {
		fmt.Fprintf(a.stderr, "given back already: %s; %s\n", count(c.Busy, "event"), back)
	}
	if c.Over > 0 {
		fmt.Fprintf(a.stderr, "released or discarded already: %s; walpost dead-letter show prints when, and by whom\n", count(c.Over, "event"))
	}
	if c.Blocked > 0 {
		fmt.Fprintf(a.stderr, "waits for its topic: %s; walpost publishes them by itself when the topic takes records\n", count(c.Blocked, "event"))
	}
	if c.Events+c.Busy+c.Blocked+c.Over == 0 && len(c.Unplaced) == 0 {
		a.noEvents(slot)
	}
	return err
}

// lockPatience is how long a command waits for the lock of a table that somebody else has, such as a migration. A change waits a little longer
// for a relay that is frozen in its transaction, see package deadletter.
const lockPatience = 5 * time.Second

// withLetters connects, and checks that the schema is there.
func (a *app) withLetters(cmd *cobra.Command, do func(ctx context.Context, db *postgres.DB, slot string) error) error {
	cfg, c, err := a.loadPostgresConfig(cmd)
	if err != nil {
		return err
	}
	db, err := postgres.Connect(cmd.Context(), c.ConnString)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(cmd.Context(), fmt.Sprintf(`set lock_timeout = %d`, lockPatience.Milliseconds())); err != nil {
		return fmt.Errorf("set lock_timeout: %w", err)
	}
	names := pgerror.Names{Slot: cfg.Postgres.Slot, Table: c.Table, Role: db.Config().User}
	if err := postgres.CheckSchema(cmd.Context(), db, c.Table); err != nil {
		return pgerror.Classify(err, pgerror.Preparing, false, names)
	}
	err = do(cmd.Context(), db, cfg.Postgres.Slot)
	if missing := (*deadletter.MissingError)(nil); errors.As(err, &missing) {
		return fmt.Errorf("%w: walpost dead-letter list prints the ids", err)
	}
	return pgerror.Classify(err, pgerror.Parking, false, names)
}

// osUser returns the user of the operating system for the audit trail, after a slash.
func osUser() string {
	u, err := user.Current()
	if err != nil {
		return "/unknown"
	}
	return "/" + cmp.Or(u.Username, u.Uid)
}
