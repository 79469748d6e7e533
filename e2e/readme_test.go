package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/certs"
	"walpost/internal/testenv/child"
)

// readmeBlock is a block of commands in README.md. The HTML comment before it says how the test runs it.
type readmeBlock struct {
	line   int
	how    string   // one of the constants below
	prints []string // texts that it has to print; in the background, before the next block runs
	why    string   // it is not run
	text   string
}

const (
	byHand     = "by hand"
	asFile     = "file" // a configuration file; TestREADMEFiles reads it
	runBlock   = "run"
	runLast    = "run after the relay has stopped"
	background = "background"

	needsDocker = "docker" // not run by TestREADME; TestCompose runs it without an engine
)

var readmeMark = regexp.MustCompile(`^<!-- readme: (by hand|file|run after the relay has stopped|run|background|docker)(?:: (.*))? -->$`)

// readBlocks returns the blocks of commands and settings. A block without a mark is an error, so that no command gets into the README untried.
func readBlocks(text string) (blocks []readmeBlock, err error) {
	var before string
	var open *readmeBlock
	for i, line := range strings.Split(text, "\n") {
		switch {
		case open != nil && line == "```":
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.text += line + "\n"
		case line == "```" && readmeMark.MatchString(before):
			return nil, fmt.Errorf("README.md:%d: a block of commands has no language", i+1)
		case line == "```": // a picture, or a line of a file: no command
			open = &readmeBlock{line: i + 1, how: byHand, why: "no command"}
		case strings.HasPrefix(line, "```"):
			m := readmeMark.FindStringSubmatch(before)
			if m == nil {
				return nil, fmt.Errorf("README.md:%d: a block of commands has no line <!-- readme: ... --> before it", i+1)
			}
			open = &readmeBlock{line: i + 1, how: m[1]}
			if (m[1] == asFile) != (line == "```yaml") {
				return nil, fmt.Errorf("README.md:%d: a block has the language yaml if it is a configuration file, and only then", i+1)
			}
			if m[1] == byHand {
				open.why = m[2]
			} else if m[2] != "" {
				open.prints = strings.Split(m[2], ", ")
			}
		}
		before = line
	}
	return blocks, nil
}

// readme returns the blocks of README.md.
func readme(t *testing.T) []readmeBlock {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := readBlocks(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

// reader is somebody who follows the README: a folder with what the shell remembers from block to block.
type reader struct {
	home     *child.Home
	env      []string
	replaced *strings.Replacer
}

// command returns a block as a shell runs it, after what the blocks before it have exported.
func (r *reader) command(ctx context.Context, b readmeBlock, end string) *exec.Cmd {
	state := r.home.Path("state")
	script := "set -euo pipefail\n[ ! -e " + state + " ] || . " + state + "\n" + r.replaced.Replace(b.text) + end
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir, cmd.Env = r.home.Dir(), r.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// do runs a block to its end.
func (r *reader) do(t *testing.T, b readmeBlock) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := r.command(ctx, b, "export -p > "+r.home.Path("state")+"\n").CombinedOutput()
	if err != nil {
		t.Fatalf("README.md:%d: %v\n%s", b.line, err, out)
	}
	for _, want := range b.prints {
		if !strings.Contains(string(out), want) {
			t.Errorf("README.md:%d: it does not print %q:\n%s", b.line, want, out)
		}
	}
}

// leave runs a block in the background until stop is called, which checks that it ends well.
func (r *reader) leave(t *testing.T, b readmeBlock) (stop func()) {
	t.Helper()
	path := r.home.Path(fmt.Sprintf("line-%d.log", b.line))
	log, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := r.command(context.Background(), b, "")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	eventually(t, fmt.Sprintf("README.md:%d prints %q", b.line, b.prints), func() string {
		select {
		case err := <-ended:
			t.Fatalf("README.md:%d: %v\n%s", b.line, err, child.Tail(path))
		default:
		}
		text, _ := os.ReadFile(path)
		for _, want := range b.prints {
			if !strings.Contains(string(text), want) {
				return string(text)
			}
		}
		return ""
	})
	return func() {
		t.Helper()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // the shell ends by the signal, walpost by itself
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatalf("README.md:%d does not end\n%s", b.line, child.Tail(path))
		}
		if text, _ := os.ReadFile(path); !strings.Contains(string(text), "walpost stopped") {
			t.Errorf("README.md:%d: it did not stop cleanly\n%s", b.line, text)
		}
	}
}

// TestREADME: somebody who follows the README gets an event to a consumer, and gets rid of everything again. Host names and the number of
// replicas are replaced; all else is as it is printed.
func TestREADME(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{SSL: true, HBA: []string{
		readmeHBA(t),
		"hostssl shop shop 127.0.0.1/32 scram-sha-256",
		"hostssl stock stock 127.0.0.1/32 scram-sha-256",
	}})
	admin := &pgtest.DB{DSN: server.DSN("postgres")}
	admin.Exec(t, "create database shop")
	r := newReader(t, server)
	var stop func()
	ran := 0
	for _, b := range readme(t) {
		switch b.how {
		case byHand:
			t.Logf("README.md:%d is not run: %s", b.line, b.why)
			continue
		case asFile: // TestREADMEFiles reads it
			continue
		case needsDocker:
			t.Logf("README.md:%d is not run: it needs a Docker engine; TestCompose runs it without one", b.line)
			continue
		case background:
			stop = r.leave(t, b)
		case runLast:
			stop()
			stop = func() {} // several blocks may follow
			fallthrough
		case runBlock:
			r.do(t, b)
		}
		ran++
	}
	if ran < 8 {
		t.Errorf("%d blocks were run", ran)
	}
	for what, list := range map[string]string{ // each prints a line for what is left
		"topics": "kafka-topics.sh --list | grep '^outbox'",
		"ACLs":   "kafka-acls.sh --list --principal User:walpost | grep ResourcePattern",
		"users":  "kafka-configs.sh --describe --entity-type users --entity-name walpost | grep SCRAM",
	} {
		list = strings.Replace(list, ".sh", ".sh --bootstrap-server kafka.example.com:9092", 1)
		t.Logf("no %s are left behind", what)
		r.do(t, readmeBlock{how: runBlock, text: "until [ -z \"$(" + list + ")\" ]; do sleep 0.2; done\n"})
	}
	for database, query := range map[string]string{
		"postgres": "select (select count(*) from pg_replication_slots) + (select count(*) from pg_roles where rolname = 'walpost')",
		"shop":     "select (select count(*) from pg_publication) + (select count(*) from pg_namespace where nspname = 'walpost')",
		"stock":    "select count(*) from pg_namespace where nspname = 'walpost'",
	} {
		var left int
		db := &pgtest.DB{DSN: server.DSN(database)}
		if err := db.Connect(t).QueryRow(t.Context(), query).Scan(&left); err != nil || left != 0 {
			t.Errorf("%d objects are left behind in %s, %v", left, database, err)
		}
	}
}

// readmeHBA returns the README's line for pg_hba.conf, for this machine.
func readmeHBA(t *testing.T) string {
	t.Helper()
	for _, b := range readme(t) {
		if line := strings.Fields(b.text); len(line) == 5 && strings.HasPrefix(line[0], "host") {
			line[3] = "127.0.0.1/32"
			return strings.Join(line, " ")
		}
	}
	t.Fatal("README.md has no line for pg_hba.conf")
	return ""
}

// newReader makes a reader with the programs that the README needs.
func newReader(t *testing.T, server *pgtest.Server) *reader {
	t.Helper()
	home, err := child.NewHome("walpost-readme-", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := home.Close(); err != nil {
			t.Error(err)
		}
	})
	walpost, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(walpost, home.Path("walpost")); err != nil {
		t.Fatal(err)
	}
	if err := kafkatest.Scripts(t.Context(), home.Dir()); err != nil {
		t.Fatal(err)
	}
	kafka, ca := securedKafka(t)
	return &reader{home: home,
		env: []string{"PATH=" + home.Dir() + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME=" + home.Dir(), "LC_ALL=C.UTF-8",
			"PGSSLROOTCERT=" + server.CA(), "SSL_CERT_FILE=" + ca, "WALPOST_ADMIN_LISTEN=127.0.0.1:0", "GORACE=halt_on_error=1 atexit_sleep_ms=0"},
		replaced: strings.NewReplacer("db.example.com", child.Address(server.Port()),
			"SERVERS=kafka.example.com:9092", "SERVERS="+kafka.Brokers()[0], // where walpost needs the login and the rights that the README gives it
			"kafka.example.com:9092", kafka.Internal()[0], // where the scripts may do everything
			"--replication-factor 3 --config min.insync.replicas=2", "--replication-factor 1"),
	}
}

// securedKafka starts a broker that gives clients nothing without TLS, a login and ACLs. ca is the file of the authority that signed its
// certificate.
func securedKafka(t *testing.T) (kafka *kafkatest.Cluster, ca string) {
	t.Helper()
	files, err := certs.Write(t.TempDir(), "kafka")
	if err != nil {
		t.Fatal(err)
	}
	return kafkatest.Start(t, kafkatest.Options{
		Protocol: "SASL_SSL",
		Properties: map[string]string{
			"ssl.keystore.type": "PEM", "ssl.keystore.location": files.Bundle,
			"sasl.enabled.mechanisms":                             "SCRAM-SHA-512",
			"listener.name.client.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
			"authorizer.class.name":                               "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
			"super.users":                                         "User:ANONYMOUS", // whoever comes by the plain listener
		},
	}), files.CA
}

// TestREADMEMarks: a block that nobody has tried is an error.
func TestREADMEMarks(t *testing.T) {
	for text, ok := range map[string]bool{
		"```\npicture\n```":                                       true,
		"```sh\ncommand\n```":                                     false,
		"<!-- readme: run -->\n\n```sh\ncommand\n```":             false,
		"<!-- readme: run -->\n```sh\ncommand\n```":               true,
		"<!-- readme: by hand: a reason -->\n```sh\ncommand\n```": true,
		"<!-- readme: file -->\n```yaml\na: b\n```":               true,
		"<!-- readme: file -->\n```sh\ncommand\n```":              false,
		"<!-- readme: perhaps -->\n```sh\ncommand\n```":           false,
	} {
		if _, err := readBlocks(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
