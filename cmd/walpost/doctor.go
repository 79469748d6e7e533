package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"walpost/cmd/walpost/internal/adminclient"
	"walpost/cmd/walpost/internal/config"
	"walpost/internal/diagnosis"
	"walpost/relay/diagnose"
)

// doctorFlags are the flags of this command.
type doctorFlags struct {
	adminFlags
	json   bool
	topics []string
}

func (a *app) doctorCommand() *cobra.Command {
	var flags doctorFlags
	cmd := leaf(&cobra.Command{
		Use:   "doctor",
		Short: "Check Postgres, Kafka and the running relay, and print a cure for each problem",
		Long: `doctor makes all the checks that run makes at its start, and more: it warns of problems that only
matter later. It creates nothing, changes nothing and moves no slot. So you can run it before the
first start, while a relay runs, and after the relay has stopped.

Exit codes: 0 no check failed, although there may be warnings; 3 a check failed.`,
		Example: `  walpost doctor -c walpost.yaml
  walpost doctor --topic outbox.event.order --topic outbox.event.invoice
  walpost doctor --json | jq '.findings[] | select(.level == "failed")'`,
		RunE: verb(func(cmd *cobra.Command) error { return a.doctor(cmd, flags) }),
	})
	cmd.Flags().BoolVar(&flags.json, "json", false, "print JSON: ok, and a list of findings, each with target, check, level (ok, warning, failed), found and cure")
	cmd.Flags().StringArrayVar(&flags.topics, "topic", nil, "check the topic of this `name` too; may be repeated")
	flags.add(cmd)
	return cmd
}

// doctorTimeout is how long all checks may take.
const doctorTimeout = time.Minute

func (a *app) doctor(cmd *cobra.Command, flags doctorFlags) error {
	cfg, client, err := a.loadConfigAndClient(cmd, flags.adminFlags)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), doctorTimeout)
	defer cancel()
	findings, err := diagnoseAll(ctx, cfg, client, flags.topics)
	if err != nil {
		return err
	}
	if flags.json {
		err = json.NewEncoder(a.stdout).Encode(map[string]any{"ok": !diagnosis.AnyFailed(findings), "findings": findings})
	} else {
		err = writeFindings(a.stdout, findings)
	}
	if err == nil && diagnosis.AnyFailed(findings) {
		err = &exitError{exitDifferent, nil}
	}
	return err
}

// diagnoseAll checks Postgres, Kafka and the relay at the same time.
func diagnoseAll(ctx context.Context, cfg *config.Config, client *adminclient.Client, topics []string) ([]diagnosis.Finding, error) {
	c, err := cfg.PostgresConfig()
	if err != nil {
		return nil, err
	}
	kafka, err := newSink(cfg, nil, instruments{log: slog.New(slog.DiscardHandler), registry: prometheus.NewRegistry()})
	if err != nil {
		return nil, fmt.Errorf("set up Kafka: %w", err)
	}
	topic, err := cfg.Topic()
	if err != nil {
		return nil, err
	}
	var postgres, brokers, running []diagnosis.Finding
	var wg sync.WaitGroup
	wg.Go(func() { postgres = diagnose.Run(ctx, c, topic, cfg.Outbox.Backfill, cfg.Outbox.OnBadEvent == "park") })
	wg.Go(func() { brokers = kafka.Diagnose(ctx, topics...) })
	wg.Go(func() { running = diagnoseRelay(ctx, cfg, client) })
	wg.Wait()
	findings := append(postgres, brokers...)
	if diagnosis.AnyFailed(findings) && diagnosis.AnyFailed(running) {
		last := &running[len(running)-1]
		last.Cure = "first cure the failed checks above; then " + last.Cure
	}
	return append(findings, running...), nil
}

// diagnoseRelay asks the relay whether it is ready. If no relay answers, that is not a failure: doctor may run before the first start.
func diagnoseRelay(ctx context.Context, cfg *config.Config, client *adminclient.Client) []diagnosis.Finding {
	list := diagnosis.List{Target: "relay"}
	if client == nil {
		return nil
	}
	const check, apart = "ready", "if several relays run on one machine, give each its own admin.listen"
	r, _, err := client.Report(ctx)
	switch {
	case errors.Is(err, adminclient.ErrNotWalpost):
		list.Add(check, diagnosis.Warning, fmt.Sprintf("another program listens at %s, so walpost run would end there", client.Host()), "set another admin.listen, or an empty one for no admin server")
	case err != nil && !errors.Is(err, adminclient.ErrHidden):
		list.OK(check, "no relay answers at %s: %v", client.Host(), err)
	case r.Slot.Name != "" && r.Slot.Name != cfg.Postgres.Slot:
		list.Add(check, diagnosis.Warning, fmt.Sprintf("the relay at %s uses slot %s, but this configuration names slot %s", client.Host(), r.Slot.Name, cfg.Postgres.Slot), apart)
	case !r.Ready:
		// The relay's reason includes the cure.
		list.Add(check, diagnosis.Failed, fmt.Sprintf("the relay at %s is not ready: %s", client.Host(), r.Reason), "do what the reason says; walpost status and the relay's log have more")
	default:
		list.OK(check, "the relay at %s is ready, as %s", client.Host(), r.Role)
	}
	return list.Findings
}

// writeFindings writes findings for people.
func writeFindings(w io.Writer, findings []diagnosis.Finding) error {
	var b strings.Builder
	target, failed, warnings := "", 0, 0
	for _, f := range findings {
		if f.Target != target {
			target = f.Target
			fmt.Fprintln(&b, target)
		}
		mark := "ok"
		switch f.Level {
		case diagnosis.Failed:
			mark = "FAILED"
			failed++
		case diagnosis.Warning:
			mark = "warning"
			warnings++
		}
		fmt.Fprintf(&b, "  %-8s %-21s %s\n", mark, f.Check, f.Found)
		if f.Cure != "" {
			fmt.Fprintf(&b, "  %-8s %-21s cure: %s\n", "", "", f.Cure)
		}
	}
	fmt.Fprintf(&b, "%d checks, %d failed, %d warnings\n", len(findings), failed, warnings)
	_, err := io.WriteString(w, b.String())
	return err
}
