package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"walpost/cmd/walpost/internal/config"
	"walpost/internal/catalog"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/schema"
)

func (a *app) schemaCommand() *cobra.Command {
	var roles schema.Options
	var checks bool
	var only string
	cmd := group(&cobra.Command{
		Use:   "schema",
		Short: "Print, apply or check the database objects that walpost needs",
		Long: `The objects are schema walpost, the publication, and the table that outbox.table names, if it does
not exist. With --app-role and --relay-role they include the rights of these two roles, which must
exist.

The database of a consumer needs only the inbox, for claim(): use --only inbox. Then --app-role is
the role of the consumer.`,
	})
	cmd.PersistentFlags().StringVar(&roles.AppRole, "app-role", "", "`role` of the services that insert")
	cmd.PersistentFlags().StringVar(&roles.RelayRole, "relay-role", "", "`role` that walpost run logs in as")
	cmd.PersistentFlags().StringVar(&only, "only", "", "only this `part` of the objects: inbox, for the database of a consumer")
	with := func(do func(*cobra.Command, *config.Config, schema.Options) error) func(*cobra.Command, []string) error {
		return verb(func(cmd *cobra.Command) error {
			for _, role := range []string{roles.AppRole, roles.RelayRole} {
				if slices.Contains(noRoles, role) {
					return &exitError{exitUsage, fmt.Errorf("%s is not a role that can get these rights: name the role of a service", role)}
				}
			}
			inbox := cmd.Flags().Changed("only")
			if inbox {
				if err := checkOnly(only, roles.RelayRole, checks); err != nil {
					return &exitError{exitUsage, err}
				}
			}
			cfg, err := a.loadConfig(cmd)
			if err != nil {
				return err
			}
			o := schema.Options{Mapping: cfg.Mapping(), Publication: cfg.Postgres.Publication, AppRole: roles.AppRole, RelayRole: roles.RelayRole, OnlyInbox: inbox}
			if o.Table, err = cfg.Table(); err != nil {
				return err
			}
			if o.Topic, err = cfg.Topic(); err != nil {
				return err
			}
			return do(cmd, cfg, o)
		})
	}
	text := func(o schema.Options) string {
		if checks {
			return schema.ChecksScript(o)
		}
		return schema.Script(o)
	}
	printing := leaf(&cobra.Command{
		Use:   "print",
		Short: "Print the SQL for people and migration tools, without connecting to anything",
		Example: `  walpost schema print --app-role shop_app --relay-role walpost | psql -1 -v ON_ERROR_STOP=1 shop
  walpost schema print > db/migrations/V42__walpost.sql
  walpost schema print --checks --table shop.events > db/migrations/V43__walpost_checks.sql`,
		RunE: with(func(_ *cobra.Command, _ *config.Config, o schema.Options) error {
			_, err := io.WriteString(a.stdout, text(o))
			return err
		}),
	})
	printing.Flags().BoolVar(&checks, "checks", false, "print only the CHECK constraints for an existing outbox")
	cmd.AddCommand(
		printing,
		leaf(&cobra.Command{
			Use:   "apply",
			Short: "Create the missing objects; running it again changes nothing",
			Example: `  walpost schema apply --postgres-url postgres://owner@db/shop --app-role shop_app --relay-role walpost
  walpost schema apply --postgres-url postgres://owner@db/stock --app-role stock --only inbox`,
			RunE: with(a.schemaApply),
		}),
		leaf(&cobra.Command{
			Use:     "check",
			Short:   "Compare the database with what walpost needs; exit 3 if they differ",
			Example: `  walpost schema check --relay-role walpost`,
			RunE:    with(a.schemaCheck),
		}),
	)
	return cmd
}

func (a *app) schemaApply(cmd *cobra.Command, cfg *config.Config, o schema.Options) error {
	return withDatabase(cmd.Context(), cfg, func(ctx context.Context, conn *pgx.Conn) error {
		hadPublish, err := catalog.HasPublish(ctx, conn)
		if err != nil {
			return err
		}
		if err := catalog.Apply(ctx, conn, o); err != nil {
			return err
		}
		if has, err := catalog.HasPublish(ctx, conn); err == nil && hadPublish && !has { // what calls it fails from now on
			fmt.Fprintf(a.stderr, "walpost: dropped function walpost.publish(), which does not fit the columns of %s: insert into the table instead\n", o.Table)
		}
		left, err := catalog.Check(ctx, conn, o)
		if err != nil {
			return err
		}
		for _, d := range left { // an existing table is never altered
			fmt.Fprintf(a.stderr, "walpost: apply does not change this: %s\n", d)
		}
		if o.OnlyInbox {
			_, err := fmt.Fprintf(a.stdout, "table walpost.inbox exists in the form of version %d, in %s\n", schema.Version, postgres.Place(conn))
			return err
		}
		if _, err := fmt.Fprintf(a.stdout, "schema walpost is at version %d, outbox %s exists, in %s\n", schema.Version, o.Table, postgres.Place(conn)); err != nil {
			return err
		}
		level, enough, err := catalog.WALLevel(ctx, conn)
		if err != nil {
			return fmt.Errorf("apply schema: %w", err)
		}
		if !enough { // the schema is useless until then, and the restart has to be planned
			fmt.Fprintf(a.stderr, "walpost: wal_level is %s, and walpost run needs logical; run: ALTER SYSTEM SET wal_level = logical, and restart the server\n", level)
		}
		return nil
	})
}

func (a *app) schemaCheck(cmd *cobra.Command, cfg *config.Config, o schema.Options) error {
	return withDatabase(cmd.Context(), cfg, func(ctx context.Context, conn *pgx.Conn) error {
		differences, err := catalog.Check(ctx, conn, o)
		if err != nil {
			return err
		}
		for _, d := range differences {
			if _, err := fmt.Fprintln(a.stdout, d); err != nil {
				return err
			}
		}
		if len(differences) > 0 {
			return &exitError{exitDifferent, nil}
		}
		if o.OnlyInbox {
			_, err = fmt.Fprintf(a.stdout, "table walpost.inbox exists in the form of version %d, no differences\n", schema.Version)
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "schema walpost is at version %d, outbox %s exists, no differences\n", schema.Version, o.Table)
		return err
	})
}

// noRoles are words that stand for other roles in a GRANT. With public, every role could insert events.
var noRoles = []string{"public", "none", "current_role", "current_user", "session_user"}

// checkOnly returns an error if --only is wrong, or cannot be combined with the other flags.
func checkOnly(only, relayRole string, checks bool) error {
	switch {
	case only != "inbox":
		return fmt.Errorf("--only %q is unknown: write --only inbox", only)
	case relayRole != "":
		return errors.New("--only inbox cannot be combined with --relay-role: no relay works in the database of a consumer")
	case checks:
		return errors.New("--only inbox cannot be combined with --checks, which is for an outbox")
	}
	return nil
}

// connectTimeout limits the time of connecting, unless the connection string does.
const connectTimeout = 10 * time.Second

// withDatabase connects to the database, calls use and closes the connection.
func withDatabase(ctx context.Context, cfg *config.Config, use func(context.Context, *pgx.Conn) error) error {
	c, err := pgx.ParseConfig(string(cfg.Postgres.URL))
	if err != nil {
		return errors.New("connect to Postgres: postgres.url is no longer a connection string; see walpost config validate")
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "walpost"
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return pgerror.Classify(pgerror.ConnectError(err, &c.Config), pgerror.Connecting, true, pgerror.Names{})
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn.Close(ctx)
	}()
	return use(ctx, conn)
}
