package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"walpost/internal/diagnosis"
	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/relay"
)

func TestDoctor(t *testing.T) {
	db := pgtest.New(t)
	brokers := kafkatest.Brokers(t)
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", db.DSN)
	t.Setenv("WALPOST_POSTGRES_SLOT", db.Name)
	t.Setenv("WALPOST_KAFKA_BOOTSTRAP_SERVERS", strings.Join(brokers, ","))
	t.Setenv("WALPOST_ADMIN_LISTEN", "127.0.0.1:1")
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 1, nil)

	code, stdout, stderr := command(t, "doctor", "--topic", topic+".absent")
	for _, want := range []string{"postgres\n", "FAILED   schema ", "cure: run: walpost schema apply\n", "kafka\n", "FAILED   topic ", "kafka-topics.sh --create --topic " + topic + ".absent",
		"relay\n", "no relay answers at 127.0.0.1:1", " failed, 1 warnings\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q", want)
		}
	}
	if code != 3 || stderr != "" || t.Failed() {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr := command(t, "schema", "apply"); code != 0 {
		t.Fatal(stderr)
	}
	code, stdout, stderr = command(t, "doctor", "--topic", topic, "--json")
	var answer struct {
		OK       bool
		Findings []diagnosis.Finding
	}
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || code != 0 || !answer.OK || stderr != "" {
		t.Fatalf("exit %d, %v\n%s%s", code, err, stdout, stderr)
	}
	targets := map[string]int{}
	for _, f := range answer.Findings {
		targets[f.Target]++
	}
	if targets["postgres"] < 10 || targets["kafka"] < 4 || targets["relay"] != 1 {
		t.Errorf("findings: %v\n%s", targets, stdout)
	}
}

// doctor also asks the running relay.
func TestDoctorAsksTheRelay(t *testing.T) {
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", "postgres://127.0.0.1:1/none?password=canary")
	t.Setenv("WALPOST_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
	t.Setenv("WALPOST_ADMIN_LISTEN", "127.0.0.1:0")
	well := running(t, relay.State{Role: relay.Leader})
	waiting := running(t, relay.State{Role: relay.Waiting, Reason: "Postgres is away"})
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	strange := stranger.Listener.Addr().String()
	for _, test := range []struct{ address, slot, says string }{
		{strange, "walpost", "warning  ready                 another program listens at " + strange},
		{well, "walpost", "ok       ready                 the relay at " + well + " is ready, as leader"},
		{waiting, "walpost", "FAILED   ready                 the relay at " + waiting + " is not ready: Postgres is away"},
		{well, "other", fmt.Sprintf("warning  ready                 the relay at %s uses slot walpost, but this configuration names slot other", well)},
	} {
		code, stdout, stderr := command(t, "doctor", "--address", test.address, "--slot", test.slot)
		if code != 3 || !strings.Contains(stdout, test.says) || !strings.Contains(stdout, "FAILED   connection") || !strings.Contains(stdout, "FAILED   bootstrap") || strings.Contains(stdout+stderr, "canary") {
			t.Errorf("exit %d, want %q in\n%s%s", code, test.says, stdout, stderr)
		}
	}
}
