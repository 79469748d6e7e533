package kafkatest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"walpost/internal/testenv/need"
)

// Variable is the environment variable with the addresses, separated by commas, of the plain brokers that tests should use.
const Variable = "WALPOST_TEST_KAFKA"

// shared returns the addresses of this test run's brokers: those that the environment names, or else one that it starts. That broker runs
// until the process ends; its home ends it.
var shared = sync.OnceValues(func() ([]string, error) {
	if list := os.Getenv(Variable); list != "" {
		brokers := strings.Split(list, ",")
		// After an error the test fails and is not skipped, because somebody asked for this broker.
		if _, err := ask(brokers[0], []string{}); err != nil {
			return nil, fmt.Errorf("use the broker in %s: %w", Variable, err)
		}
		return brokers, nil
	}
	c, err := Launch(context.Background(), Options{})
	if err != nil {
		return nil, err
	}
	return c.Brokers(), nil
})

// Brokers returns the addresses of this test run's brokers, which all tests share.
func Brokers(t testing.TB) []string {
	t.Helper()
	brokers, err := shared()
	need.Met(t, err)
	return brokers
}

// Start starts brokers for the test alone, which end with the test.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c, err := Launch(t.Context(), o)
	need.Met(t, err)
	t.Cleanup(func() {
		for _, n := range c.nodes {
			if t.Failed() {
				t.Logf("log of Kafka node %d:\n%s", n.id, c.Log(n.id))
			}
		}
		if err := c.Close(); err != nil {
			t.Errorf("close Kafka: %v", err)
		}
	})
	return c
}

// Name returns a name for a topic or group that differs in every test and every run.
func Name(t testing.TB) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, strings.TrimPrefix(t.Name(), "Test"))
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails, by its documentation
	return fmt.Sprintf("%.100s-%s", clean, hex.EncodeToString(random[:]))
}
