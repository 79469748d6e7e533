package main

import (
	"context"
	"os"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		args           string
		file           string
		code           int
		stdout, stderr string // stdout begins with this, and stderr is this, or begins with it if it has no line break at its end; "": no output
	}{
		{args: "", code: 2, stderr: "walpost reads the rows"},
		{args: "--help", stdout: "walpost reads the rows"},
		{args: "runn", code: 2, stderr: "walpost: unknown command runn; walpost has the commands completion, config, dead-letter, doctor, run, schema, slot, status, tail, version; did you mean run?\n"},
		{args: "serve", code: 2, stderr: "walpost: unknown command serve; walpost has the commands completion, config, dead-letter, doctor, run, schema, "},
		{args: "schema", code: 2, stderr: "The objects are schema walpost"},
		{args: "schema aply", code: 2, stderr: "walpost: unknown command aply; schema has the commands apply, check, print; did you mean apply?\n"},
		{args: "config schema", code: 2, stderr: "walpost: unknown command schema; config has the commands print, validate\n"},
		{args: "help", stdout: "walpost reads the rows"},
		{args: "help schema apply", stdout: "Create the missing objects"},
		{args: "help nosuch", code: 2, stderr: "walpost: unknown command nosuch; walpost has the commands "},
		{args: "help schema aply", code: 2, stderr: "walpost: unknown command aply; schema has the commands apply, check, print; did you mean apply?\n"},
		{args: "help run now", code: 2, stderr: "walpost: run has no subcommands; see walpost help run\n"},
		{args: "run now", code: 2, stderr: "walpost: run takes flags only, no arguments; see walpost run --help\n"},
		{args: "run --slott a", code: 2, stderr: "walpost: unknown flag --slott; did you mean --slot?\n"},
		{args: "run -slot a", code: 2, stderr: "walpost: unknown flag -s; a long name has two dashes; see walpost run --help\n"},
		{args: "run --slot", code: 2, stderr: "walpost: flag --slot needs a value; see walpost run --help\n"},
		{args: "run --=x", code: 2, stderr: "walpost: a flag has an invalid value; see walpost run --help\n"},
		{args: "run -X linger", code: 2, stderr: "walpost: -X needs key=value, for example -X linger.ms=5\n"},
		{args: "run -X linger=5", code: 2, stderr: "walpost: -X linger: unknown property linger; did you mean -X linger.ms=…?\n"},
		{args: "run -X kafka.linger.ms=5", code: 2, stderr: "walpost: -X kafka.linger.ms: unknown property kafka.linger.ms; did you mean -X linger.ms=…?\n"},
		{args: "run --log-level loud", code: 2, stderr: "walpost: --log-level: log.level: \"loud\" is neither debug, info, warn nor error\n"},
		{args: "run --log-format xml", code: 2, stderr: "walpost: --log-format \"xml\" is neither text nor json\n"},
		{args: "run -c nowhere.yaml", code: 2, stderr: "walpost: read configuration: open nowhere.yaml: no such file or directory; name a file that exists, or none: ./walpost.yaml is read if it exists\n"},
		{args: "run --config=", code: 2, stderr: "walpost: --config is empty; name a file\n"},
		{args: "config validate", stdout: "configuration: no problems found\n"},
		{args: "config validate", file: "kafka:\n  linger: 5\n  linger.ms: x\n", code: 2,
			stderr: "walpost: walpost.yaml:2:3: unknown key kafka.linger; did you mean kafka.linger.ms?\nwalpost: walpost.yaml:3:14: kafka.linger.ms: \"x\" is not a whole number\n"},
		{args: "config print", file: "kafka:\n  linger: 5\n", code: 2, stderr: "walpost: walpost.yaml:2:3: "},
		{args: "config print -X linger.ms=5", stdout: "postgres:\n  url: \"\"\n  slot: walpost\n"},
		{args: "schema print", file: "outbox:\n  retention: delete\n", code: 2, stderr: "walpost: walpost.yaml:2:14: outbox.retention: the retention delete is not in this version"},
		{args: "schema print", stdout: "-- walpost: database schema, version 2."},
		{args: "schema print --table events", code: 2, stderr: "walpost: --table: outbox.table: "},
		{args: "schema apply --postgres-url host=127.0.0.1,port=1", code: 1, stderr: "walpost: connect to 127.0.0.1 port 5432 as "},
		{args: "schema check --postgres-url postgres://127.0.0.1:1/db", code: 1, stderr: "walpost: connect to 127.0.0.1 port 1 as "},
		{args: "version", stdout: "walpost "},
		{args: "--version", stdout: "walpost "},
		{args: "completion bash", stdout: "# bash completion"},
	} {
		t.Run(test.args, func(t *testing.T) {
			clean(t)
			if test.file != "" {
				if err := os.WriteFile("walpost.yaml", []byte(test.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			code, stdout, stderr := command(t, strings.Fields(test.args)...)
			if code != test.code {
				t.Errorf("exit %d, want %d", code, test.code)
			}
			if !strings.HasPrefix(stdout, test.stdout) || test.stdout == "" && stdout != "" {
				t.Errorf("stdout is\n%s\nwant\n%s", stdout, test.stdout)
			}
			open := test.stderr != "" && !strings.HasSuffix(test.stderr, "\n")
			if stderr != test.stderr && !(open && strings.HasPrefix(stderr, test.stderr)) {
				t.Errorf("stderr is\n%s\nwant\n%s", stderr, test.stderr)
			}
		})
	}
}

// A secret in a wrong place is not repeated.
func TestCommandLineIsNotQuoted(t *testing.T) {
	const url = "postgres://me:canary@127.0.0.1:1/shop"
	for _, args := range [][]string{
		{url}, {"help", url}, {"help", "run", url}, {"help", "schema", url}, {"run", url}, {"schema", url}, {"-postgres-url=" + url}, {"run", "-postgres-url=" + url}, {"run", "--postgresurl=" + url},
		{"run", "--=" + url}, {"run", "-X", url}, {"run", "-X", "sasl.pasword=canary"}, {"run", "-X", "sasl.password:canary"},
		{"run", "--postgres-url", "postgres://me:can/canary@h"}, {"config", "print", "--postgres-url", url}, {"schema", "check", "--postgres-url", url},
		{"schema", "apply", "--postgres-url", "host=127.0.0.1 port=1 user=me password=canary"}, {"config", "print", "-X", "sasl.password=canary"},
		{"config", "print", "-X", "ssl.key.password=canary", "-X", "sasl.oauthbearer.client.secret=canary"},
		{"run", "-X", "security.protocol=SASL_SSL", "-X", "sasl.mechanism=PLAIN", "-X", "sasl.password=canary"},
		{"run", "--postgres-url", url, "--slot", "A"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			clean(t)
			_, stdout, stderr := command(t, args...)
			if strings.Contains(stdout+stderr, "canary") {
				t.Errorf("it is shown:\n%s%s", stdout, stderr)
			}
		})
	}
}

func TestFlagsReachTheConfiguration(t *testing.T) {
	clean(t)
	code, stdout, stderr := command(t, "config", "print", "--postgres-url", "postgres://me@db/shop", "--slot", "orders", "--kafka", "k:1,k:2",
		"--table", "app.events", "-X", "linger.ms=5", "-X", "client.id=a=b")
	if code != 0 {
		t.Fatal(stderr)
	}
	for _, line := range []string{
		"url: postgres://me@db/shop  # --postgres-url", "slot: orders  # --slot", "bootstrap.servers: k:1,k:2  # --kafka", "table: app.events  # --table",
		"linger.ms: 5  # -X linger.ms", "client.id: a=b  # -X client.id",
	} {
		if !strings.Contains(stdout, line+"\n") {
			t.Errorf("no line %q in\n%s", line, stdout)
		}
	}
}

// Warnings go to stderr, and stdout has only data. A relay writes its warnings to the log.
func TestWarnings(t *testing.T) {
	quiet(t)
	const says = "--postgres-url: everybody on this machine sees the password in the process list"
	url := "postgres://me:canary@127.0.0.1:1/shop"
	code, stdout, stderr := command(t, "config", "print", "-c", "quiet.yaml", "--postgres-url", url)
	if code != 0 || !strings.HasPrefix(stdout, "postgres:\n") || strings.Contains(stdout, says) || !strings.HasPrefix(stderr, "walpost: warning: "+says) {
		t.Errorf("config print: exit %d\n%s%s", code, stdout, stderr)
	}
	p := start(t.Context(), newFake(func(context.Context) error { return nil }).instead, append(quietly, "--postgres-url", url)...)
	p.exit(t)
	if out := p.stderr.String(); strings.Count(out, says) != 1 || !strings.Contains(out, `"level":"WARN","msg":"configuration: `+says) {
		t.Errorf("run:\n%s", out)
	}
}
