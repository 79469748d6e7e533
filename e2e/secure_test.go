package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// TLS, certificates and passwords on both sides. Each mismatch ends the start.
// The message has the cause and no secret.
func TestSecureRefusals(t *testing.T) {
	t.Parallel() // mostly waiting
	l := newLogin(t, "refused")
	other := l.certificate(t, "other")
	kafka := l.kafka.Brokers()[0]
	_, port, _ := net.SplitHostPort(kafka)
	kafkaIs := func(settings ...string) []string {
		for i := range settings {
			settings[i] = "WALPOST_KAFKA_" + settings[i]
		}
		return settings
	}
	postgresIs := func(from, to string) []string {
		url := l.url("refused:hidden-word")
		if !strings.Contains(url, from) {
			t.Fatalf("%s has no %s", url, from)
		}
		return []string{"WALPOST_POSTGRES_URL=" + strings.Replace(url, from, to, 1)}
	}
	for _, c := range []struct {
		name string
		env  []string
		says []string
	}{
		{"Kafka: password", kafkaIs("SASL_PASSWORD=hidden-word-of-old"),
			[]string{kafka, "Authentication failed", "kafka.sasl.username (refused)"}},
		{"Kafka: mechanism", kafkaIs("SASL_MECHANISM=SCRAM-SHA-256"),
			[]string{"does not know kafka.sasl.mechanism SCRAM-SHA-256", "set it to a mechanism that is enabled there: OAUTHBEARER, PLAIN, SCRAM-SHA-512"}},
		{"Kafka: token", bearer(tokenIssuer(t), "hidden-word-of-old"),
			[]string{"invalid_client", "kafka.sasl.oauthbearer.client.id"}},
		{"Kafka: no login", kafkaIs("SECURITY_PROTOCOL=SSL", "SASL_MECHANISM=", "SASL_USERNAME=", "SASL_PASSWORD="),
			[]string{"wants a login", "set it to SASL_SSL", "SCRAM-SHA-512"}},
		{"Kafka: no TLS", kafkaIs("SECURITY_PROTOCOL=SASL_PLAINTEXT", "SSL_CA_LOCATION=", "SSL_CERTIFICATE_LOCATION=", "SSL_KEY_LOCATION="),
			[]string{"the listener speaks TLS", "set it to SASL_SSL"}},
		{"Kafka: neither", kafkaIs("SECURITY_PROTOCOL=PLAINTEXT", "SASL_MECHANISM=", "SASL_USERNAME=", "SASL_PASSWORD=", "SSL_CA_LOCATION=", "SSL_CERTIFICATE_LOCATION=", "SSL_KEY_LOCATION="),
			[]string{"the listener speaks TLS", "kafka.security.protocol is PLAINTEXT"}},
		{"Kafka: TLS for nothing", kafkaIs("BOOTSTRAP_SERVERS=" + l.kafka.Internal()[0]),
			[]string{"the listener speaks plain text", "kafka.security.protocol is SASL_SSL"}},
		{"Kafka: authority", kafkaIs("SSL_CA_LOCATION=" + l.strangers.CA),
			[]string{"certificate signed by unknown authority", "kafka.ssl.ca.location"}},
		{"Kafka: name", kafkaIs("BOOTSTRAP_SERVERS=localhost:" + port),
			[]string{"localhost", "certificate", "the host names in kafka.bootstrap.servers"}},
		{"Kafka: expired", kafkaIs("BOOTSTRAP_SERVERS=" + l.expired(t)),
			[]string{"certificate has expired", "kafka.ssl.ca.location"}},
		{"Kafka: no certificate", kafkaIs("SSL_CERTIFICATE_LOCATION=", "SSL_KEY_LOCATION="),
			[]string{"remote error: tls:", "certificate", "the client certificate"}},
		{"Kafka: a stranger's certificate", kafkaIs("SSL_CERTIFICATE_LOCATION="+l.strangers.Cert, "SSL_KEY_LOCATION="+l.strangers.Key),
			[]string{"unknown certificate", "the client certificate"}},

		{"Postgres: password", postgresIs("hidden-word", "hidden-word-of-old"),
			[]string{"password authentication failed", "refused"}},
		{"Postgres: no TLS", postgresIs("verify-full", "disable"),
			[]string{"no pg_hba.conf entry", "no encryption"}},
		{"Postgres: authority", postgresIs(l.server.CA(), l.strangers.CA),
			[]string{"certificate signed by unknown authority", "sslrootcert"}},
		{"Postgres: no certificate", postgresIs("&sslcert="+l.files.Cert+"&sslkey="+l.files.Key, ""),
			[]string{"requires a valid client certificate"}},
		{"Postgres: another's certificate", postgresIs("&sslcert="+l.files.Cert+"&sslkey="+l.files.Key, "&sslcert="+other.Cert+"&sslkey="+other.Key),
			[]string{"password authentication failed", "refused"}}, // the server writes the reason only to its own log
		{"Postgres: a stranger's certificate", postgresIs("&sslcert="+l.files.Cert+"&sslkey="+l.files.Key, "&sslcert="+l.strangers.Cert+"&sslkey="+l.strangers.Key),
			[]string{"requires a valid client certificate"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.refuses(t, refusal{code: 1, says: c.says}, append(l.environ(), c.env...)...)
		})
	}
	t.Run("Postgres: TLS for nothing", func(t *testing.T) {
		p := newPipe(t)
		p.refuses(t, refusal{code: 1, says: []string{"TLS", "sslmode"}}, "WALPOST_POSTGRES_URL="+strings.Replace(p.db.DSN, "sslmode=disable", "sslmode=require", 1))
	})
	if text := l.server.Log(); strings.Contains(text, "hidden-word") {
		t.Error("Postgres's log has a password") // it could come from a statement of walpost
	}
}

// expired returns the address of a server whose certificate expired yesterday.
func (l *login) expired(t *testing.T) string {
	t.Helper()
	f, err := l.clients.Issue(t.TempDir(), "expired", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = conn.(*tls.Conn).Handshake()
				conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// The role has the grants of `schema apply --relay-role`, and the Kafka user has
// no right at all. walpost waits for a missing right and shows the command that
// grants it. Events flow as soon as the right is granted. One topic does not wait
// for the right of another.
func TestSecureGrants(t *testing.T) {
	t.Parallel() // mostly waiting
	l := newLogin(t, "granted")
	orders, stock := l.topic(t, "order", 2, nil), l.topic(t, "stock", 1, nil)
	truth := newOracle(t, l.pipe)
	r := l.launch(t, l.environ()...)
	r.awaitOutput(t, "waiting for Kafka", "kafka-acls.sh --add --allow-principal User:granted --operation IdempotentWrite --cluster")
	r.awaitUnready(t, "--operation IdempotentWrite --cluster")
	r.awaitUnready(t, "connect to Kafka at "+l.kafka.Brokers()[0]+": kafka server: The client is not authorized")
	l.grant(t, orders)
	r.awaitReady(t, "leader")

	insert := func(aggregate string, n int) {
		t.Helper()
		l.exec(t, fmt.Sprintf("INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT '%s', 'k'||i, 'x' FROM generate_series(1, %d) i", aggregate, n))
	}
	insert("stock", 100)
	insert("order", 100)
	r.awaitOutput(t, "kafka-acls.sh --add --allow-principal User:granted --producer --topic "+stock)
	client := l.client(t)
	l.awaitSize(t, client, orders, 100) // although the topic stock waits
	if n := l.size(t, client, stock); n != 0 {
		t.Errorf("%d records without a right", n)
	}
	eventually(t, "a metric of the wait", func() string {
		if _, text, err := r.get("/metrics"); err != nil || !blocked(text, stock) {
			return fmt.Sprint("not yet ", err)
		}
		return ""
	})
	// doctor knows no topic, because none is fixed. It shows the relay's own reason and cure.
	grant := "kafka-acls.sh --add --allow-principal User:granted --producer --topic " + stock
	r.awaitUnready(t, grant)
	failed := slices.DeleteFunc(l.doctor(t, l.environ(), "--address", r.Admin), func(f finding) bool { return f.Level != "failed" })
	if len(failed) != 1 || failed[0].Check != "ready" || !strings.Contains(failed[0].Found, grant) || strings.Contains(failed[0].Cure, "above") {
		t.Errorf("doctor: %+v", failed)
	}
	l.grant(t, stock)
	l.settle(t)

	l.revoke(t, orders) // while the relay runs and has written to the topic
	insert("order", 100)
	r.awaitOutput(t, "kafka-acls.sh --add --allow-principal User:granted --producer --topic "+orders)
	l.grant(t, orders)
	insert("order", 100)
	l.settle(t)
	r.stop(t)
	noSecret(t, r.output())

	rows := truth.rows(t)
	only := func(aggregate string) []row {
		return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.get("aggregatetype") != aggregate })
	}
	l.exactlyOnce(t, orders, only("order"))
	l.exactlyOnce(t, stock, only("stock"))
}

// blocked reports whether a topic waits, by the metrics.
func blocked(metrics, topic string) bool {
	for line := range strings.Lines(metrics) {
		if value, ok := strings.CutPrefix(line, `walpost_topic_blocked_seconds{topic="`+topic+`"} `); ok {
			return strings.TrimSpace(value) != "0"
		}
	}
	return false
}

// The other ways to log in, each with a user and rights of its own.
func TestSecureMechanisms(t *testing.T) {
	t.Parallel() // mostly waiting
	l := newLogin(t, "mechanisms")
	orders := l.topic(t, "order", 1, nil)
	truth := newOracle(t, l.pipe)
	for user, env := range map[string][]string{
		"plainly": {"WALPOST_KAFKA_SASL_MECHANISM=PLAIN", "WALPOST_KAFKA_SASL_USERNAME=plainly"},
		"bearer":  bearer(tokenIssuer(t), "hidden-word"),
	} {
		l.grantTo(t, user, orders)
		r := l.start(t, append(l.environ(), env...)...)
		l.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT 'order', 'k'||i, 'x' FROM generate_series(1, 100) i")
		l.settle(t)
		r.stop(t)
		noSecret(t, r.output())
	}
	l.exactlyOnce(t, orders, truth.rows(t))
}

// bearer returns the environment for a login with tokens.
func bearer(issuer, secret string) []string {
	return []string{
		"WALPOST_KAFKA_SASL_MECHANISM=OAUTHBEARER", "WALPOST_KAFKA_SASL_USERNAME=", "WALPOST_KAFKA_SASL_PASSWORD=",
		"WALPOST_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL=" + issuer,
		"WALPOST_KAFKA_SASL_OAUTHBEARER_CLIENT_ID=walpost", "WALPOST_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET=" + secret,
	}
}

// tokenIssuer returns the address of a server that issues tokens for the user
// bearer to clients that know the secret. The brokers accept unsigned tokens.
func tokenIssuer(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if _, secret, _ := r.BasicAuth(); secret != "hidden-word" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error": "invalid_client"}`)
			return
		}
		now := time.Now().Unix()
		claims := fmt.Sprintf(`{"sub": "bearer", "iat": %d, "exp": %d}`, now, now+3600)
		encode := base64.RawURLEncoding.EncodeToString
		fmt.Fprintf(w, `{"access_token": "%s.%s.", "token_type": "Bearer", "expires_in": 3600}`, encode([]byte(`{"alg": "none"}`)), encode([]byte(claims)))
	}))
	t.Cleanup(server.Close)
	return server.URL
}
