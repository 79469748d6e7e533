package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
)

// Blocks of README.md that do not belong to the road from the first step to the last, which TestREADME goes.

// blockWith returns the block that has a text, which only one block may have.
func blockWith(t *testing.T, text string) readmeBlock {
	t.Helper()
	var found []readmeBlock
	for _, b := range readme(t) {
		if strings.Contains(b.text, text) {
			found = append(found, b)
		}
	}
	if len(found) != 1 {
		t.Fatalf("README.md has %d blocks with %q, want 1", len(found), text)
	}
	return found[0]
}

// TestREADMEFiles: walpost takes each configuration file that the README shows.
func TestREADMEFiles(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	files := 0
	for _, b := range readme(t) {
		if b.how != asFile {
			continue
		}
		files++
		path := p.home.Path("walpost.yaml")
		if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"validate", "print"} {
			cmd := exec.CommandContext(t.Context(), p.program(t), "config", verb, "-c", path)
			cmd.Env = []string{"WALPOST_KAFKA_BOOTSTRAP_SERVERS=kafka:9092", "HOME=" + p.home.Dir()} // a file may leave out what is required
			out, err := cmd.CombinedOutput()
			if err != nil || strings.Contains(string(out), "WARN") {
				t.Errorf("README.md:%d: config %s: %v\n%s", b.line, verb, err, out)
			}
			for key := range strings.Lines(b.text) { // each key that it sets is printed again
				if key, _, _ := strings.Cut(strings.TrimSpace(key), ":"); verb == "print" && !strings.Contains(string(out), key) {
					t.Errorf("README.md:%d: config print has no %q\n%s", b.line, key, out)
				}
			}
		}
	}
	if files < 2 {
		t.Errorf("the README has %d files", files)
	}
}

// TestREADMEFailoverSlot: the role of the relay can create a slot that standbys synchronise, and walpost streams from it without a backfill.
func TestREADMEFailoverSlot(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Major: pgtest.NewestMajor})
	if err := server.CreateDatabase(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	p := pipeOn(t, &pgtest.DB{Name: "shop", DSN: server.DSN("shop"), Major: server.Major()}, kafkatest.Brokers(t))
	p.exec(t, "CREATE ROLE walpost LOGIN REPLICATION")
	p.withSchema(t, "--relay-role", "walpost")
	p.exec(t, "SELECT walpost.publish('order', 'old', 'Before', '{}')")
	topic := p.topic(t, "order", 1, nil)
	p.env["WALPOST_POSTGRES_URL"], p.env["WALPOST_POSTGRES_SLOT"] = p.as(t, "walpost", ""), "walpost"

	b := blockWith(t, "pg_create_logical_replication_slot")
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", b.text)
	cmd.Env = append(os.Environ(), "WALPOST_POSTGRES_URL="+p.env["WALPOST_POSTGRES_URL"])
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("README.md:%d: %v\n%s", b.line, err, out)
	}
	if !ask[bool](t, p.conn, "SELECT failover FROM pg_replication_slots WHERE slot_name = 'walpost' AND database = 'shop' AND plugin = 'pgoutput'") {
		t.Errorf("README.md:%d: the slot does not fail over", b.line)
	}
	r := p.start(t)
	p.exec(t, "SELECT walpost.publish('order', 'new', 'After', '{}')")
	eventually(t, "the event is published", func() string {
		if records := flat(p.read(t, topic)); len(records) != 1 || string(records[0].Key) != "new" {
			return "it is not there, or not alone"
		}
		return ""
	})
	r.stop(t)
}
