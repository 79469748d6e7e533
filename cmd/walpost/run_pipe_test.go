package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
)

// The parts work together: an inserted row arrives in Kafka and is counted. After a clean stop and a new start, nothing is sent twice.
func TestRowReachesKafka(t *testing.T) {
	db := pgtest.New(t)
	brokers := kafkatest.Brokers(t)
	clean(t)
	topic := "pipe-" + strings.ReplaceAll(db.Name, "_", "-")
	kafkatest.Topic(t, brokers, topic, 1, nil)
	for name, value := range map[string]string{
		"POSTGRES_URL": db.DSN, "POSTGRES_SLOT": db.Name, "KAFKA_BOOTSTRAP_SERVERS": strings.Join(brokers, ","), "OUTBOX_TOPIC": topic,
		"ADMIN_LISTEN": "127.0.0.1:0",
	} {
		t.Setenv("WALPOST_"+name, value)
	}
	if code, _, stderr := command(t, "schema", "apply"); code != 0 {
		t.Fatal(stderr)
	}
	db.Exec(t, "select walpost.publish('order', '1', 'Placed', '{}')") // before the first start
	for life := range 2 {
		ctx, stop := context.WithCancel(t.Context())
		p := start(ctx, nil, "run")
		at := p.address(t)
		eventually(t, func() error {
			if code, body := get(t, at+"/readyz"); code != http.StatusOK || body != "{\"role\":\"leader\"}\n" {
				return fmt.Errorf("/readyz: %d %s; stderr:\n%s", code, body, &p.stderr)
			}
			return nil
		})
		db.Exec(t, "select walpost.publish('order', '2', 'Paid', '{}')")
		received(t, brokers, topic, 2+life)
		eventually(t, func() error {
			if _, body := get(t, at+"/metrics"); !strings.Contains(body, "\nwalpost_leader 1\n") || !strings.Contains(body, `walpost_connected{target="kafka"} 1`) ||
				!strings.Contains(body, "\nwalpost_inflight_events 0\n") {
				return fmt.Errorf("metrics:\n%s", body)
			}
			return nil
		})
		stop()
		if code := p.exit(t); code != 0 {
			t.Fatalf("exit %d; stderr:\n%s", code, &p.stderr)
		}
	}
}

// received waits until the topic's only partition has that many records, and fails if it has more.
func received(t *testing.T, brokers []string, topic string, count int) {
	t.Helper()
	client, err := sarama.NewClient(brokers, sarama.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	part, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	for n := range count {
		select {
		case m := <-part.Messages():
			if want := min(n+1, 2); string(m.Key) != fmt.Sprint(want) {
				t.Errorf("record %d has the key %s, want %d", n, m.Key, want)
			}
			source := ""
			for _, h := range m.Headers {
				if string(h.Key) == "ce_source" {
					source = string(h.Value)
				}
			}
			if !strings.HasPrefix(source, "/walpost/") || !strings.HasSuffix(source, "/walpost.outbox") {
				t.Errorf("ce_source is %q", source)
			}
		case <-time.After(patience):
			t.Fatalf("%d records of %d", n, count)
		}
	}
	if end, err := client.GetOffset(topic, 0, sarama.OffsetNewest); err != nil || end != int64(count) {
		t.Errorf("the topic ends at %d (%v), want %d", end, err, count)
	}
}

// The program stops at once even while it waits for a port on which nothing listens, or for a peer that is silent.
func TestSignalWhileWaitingForKafka(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	spoken := make(chan struct{})
	go func() {
		if conn, err := silent.Accept(); err == nil {
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1))
			close(spoken)
			_, _ = io.Copy(io.Discard, conn)
		}
	}()
	db := pgtest.New(t)
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", db.DSN)
	t.Setenv("WALPOST_POSTGRES_SLOT", db.Name)
	t.Setenv("WALPOST_ADMIN_LISTEN", "")
	if code, _, stderr := command(t, "schema", "apply"); code != 0 {
		t.Fatal(stderr)
	}
	for address, waits := range map[string]func(*process){
		"127.0.0.1:1":          func(p *process) { p.logged(t, "waiting for Kafka") },
		silent.Addr().String(): func(*process) { <-spoken },
	} {
		ctx, stop := context.WithCancel(t.Context())
		p := start(ctx, nil, "run", "--kafka", address)
		waits(p)
		began := time.Now()
		stop()
		if code := p.exit(t); code != 0 {
			t.Errorf("%s: exit %d; stderr:\n%s", address, code, &p.stderr)
		}
		if took := time.Since(began); took > atOnce {
			t.Errorf("%s: left after %s", address, took)
		}
	}
}

// atOnce is long enough for a busy machine, and shorter than any time-out on the way to a broker.
const atOnce = 4 * time.Second

func TestFailuresOfAStart(t *testing.T) {
	db := pgtest.New(t)
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", db.DSN)
	t.Setenv("WALPOST_POSTGRES_SLOT", db.Name)
	t.Setenv("WALPOST_ADMIN_LISTEN", "")
	p := start(t.Context(), nil, "run")
	if code := p.exit(t); code != 1 {
		t.Errorf("without a schema: exit %d", code)
	}
	if line := p.logged(t, "walpost ends"); !strings.Contains(fmt.Sprint(line["err"]), "walpost schema apply") {
		t.Errorf("without a schema: %v", line["err"])
	}
}
