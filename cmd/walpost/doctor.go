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

// doctorFlags are the verb's own.
type doctorFlags struct {
	adminFlags
	json   bool
	topics []string
}

func (a *app) doctorCommand() *cobra.Command {
	var flags doctorFlags
	cmd := leaf(&cobra.Command{
		Use:   "doctor",
		Short: "Check Postgres, Kafka and the running relay, and say what cures what is wrong",
		Long: `doctor makes the checks that run makes at its start, all of them, and more: of what only hurts
later it warns. It creates nothing, changes nothing and moves no slot, so it can be run before
the first start, beside a relay, and after its end.

Exit codes: 0 nothing failed, whatever it warns of; 3 a check failed.`,
		Example: `  walpost doctor -c walpost.yaml
  walpost doctor --topic outbox.event.order --topic outbox.event.invoice
  walpost doctor --json | jq '.findings[] | select(.level == "failed")'`,
		RunE: verb(func(cmd *cobra.Command) error { return a.doctor(cmd, flags) }),
	})
	cmd.Flags().BoolVar(&flags.json, "json", false, "print JSON: ok, and findings with target, check, level (ok, warning, failed), found and cure")
	cmd.Flags().StringArrayVar(&flags.topics, "topic", nil, "check this topic too; may be repeated (`name`)")
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

// diagnoseAll asks all three at the same time.
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
	wg.Go(func() { postgres = diagnose.Run(ctx, c, topic, cfg.Outbox.Backfill) })
	wg.Go(func() { brokers = kafka.Diagnose(ctx, topics...) })
	wg.Go(func() { running = diagnoseRelay(ctx, cfg, client) })
	wg.Wait()
	findings := append(postgres, brokers...)
	if diagnosis.AnyFailed(findings) && diagnosis.AnyFailed(running) {
		last := &running[len(running)-1]
		last.Cure = "see what failed above; then " + last.Cure
	}
	return append(findings, running...), nil
}

// diagnoseRelay asks the relay how it is, if one answers. That none does is no fault: this may be before its first start.
func diagnoseRelay(ctx context.Context, cfg *config.Config, client *adminclient.Client) []diagnosis.Finding {
	list := diagnosis.List{Target: "relay"}
	if client == nil {
		return nil
	}
	const check = "ready"
	r, _, err := client.Report(ctx)
	switch {
	case err != nil && !errors.Is(err, adminclient.ErrHidden):
		list.OK(check, "no relay answers at %s: %v", client.Host(), err)
	case r.Slot.Name != "" && r.Slot.Name != cfg.Postgres.Slot:
		list.Add(check, diagnosis.Warning, fmt.Sprintf("the relay at %s is of slot %s, and this configuration of slot %s", client.Host(), r.Slot.Name, cfg.Postgres.Slot),
			"give each relay of a machine an address of its own by admin.listen")
	case !r.Ready:
		// The relay's reason has its cure.
		list.Add(check, diagnosis.Failed, fmt.Sprintf("the relay at %s is not ready: %s", client.Host(), r.Reason), "what the relay names; walpost status and its log have more")
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
