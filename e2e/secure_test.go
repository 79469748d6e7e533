package e2e

import (
	"fmt"
	"testing"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/certs"
)

// TLS on both sides, a password on both: rows flow, and each thing that does
// not fit ends the start with its cause and no secret.
func TestSecureConnections(t *testing.T) {
	t.Parallel() // mostly waiting
	files, err := certs.Write(t.TempDir(), "kafka")
	if err != nil {
		t.Fatal(err)
	}
	kafka := kafkatest.Start(t, kafkatest.Options{
		Protocol: "SASL_SSL",
		Properties: map[string]string{
			"ssl.keystore.type": "PEM", "ssl.keystore.location": files.Bundle,
			"sasl.enabled.mechanisms":                             "SCRAM-SHA-512",
			"listener.name.client.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
		},
		Format: []string{"--add-scram", "SCRAM-SHA-512=[name=alice,password=hidden-word]"},
	})
	server := pgtest.Start(t, pgtest.Options{
		SSL:      true,
		Settings: map[string]string{"password_encryption": "scram-sha-256"},
		HBA:      []string{"hostssl all relay 127.0.0.1/32 scram-sha-256"},
	})
	if err := server.CreateDatabase(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	db := &pgtest.DB{Name: "shop", DSN: server.DSN("shop"), Major: server.Major()}
	p := pipeOn(t, db, kafka.Internal())
	p.exec(t, "CREATE ROLE relay LOGIN PASSWORD 'hidden-word'")
	p.withSchema(t, "--relay-role", "relay")
	topic := p.topic(t, "order", 1, nil)
	address := kafka.Brokers()[0]
	env := []string{
		"WALPOST_POSTGRES_URL=" + p.as(t, "relay", "hidden-word"),
		"WALPOST_KAFKA_BOOTSTRAP_SERVERS=" + address,
		"WALPOST_KAFKA_SECURITY_PROTOCOL=SASL_SSL",
		"WALPOST_KAFKA_SASL_MECHANISM=SCRAM-SHA-512",
		"WALPOST_KAFKA_SASL_USERNAME=alice",
		"WALPOST_KAFKA_SASL_PASSWORD=hidden-word",
		"WALPOST_KAFKA_SSL_CA_LOCATION=" + files.CA,
	}
	for name, c := range map[string]struct{ env, says string }{
		"SASL refused":       {"WALPOST_KAFKA_SASL_PASSWORD=hidden-word-of-old", "alice"},
		"Kafka's authority":  {"WALPOST_KAFKA_SSL_CA_LOCATION=" + server.CA(), "certificate"},
		"Postgres's refusal": {"WALPOST_POSTGRES_URL=" + p.as(t, "relay", "hidden-word-of-old"), "relay"},
		"Postgres's name":    {fmt.Sprintf("WALPOST_POSTGRES_URL=postgres://relay:hidden-word@127.0.0.1:%d/shop?sslmode=verify-full&sslrootcert=%s", server.Port(), files.CA), "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			p.refuses(t, refusal{code: 1, says: []string{c.says}}, append(env, c.env)...)
		})
	}
	r := p.start(t, env...)
	truth := newOracle(t, p)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT 'order', 'k'||i, 'x' FROM generate_series(1, 1000) i")
	p.settle(t)
	r.stop(t)
	noSecret(t, r.output())
	p.exactlyOnce(t, topic, truth.rows(t))
}
