package sink

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"walpost/internal/kafkatest"
	"walpost/internal/reason"
	"walpost/internal/testenv/certs"
	"walpost/sink/auth"
	"walpost/sink/internal/sinktest"
)

// One real broker with all login mechanisms, over TLS with certificates on both sides.
func TestLogins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files, err := certs.Write(dir, "kafka")
	if err != nil {
		t.Fatal(err)
	}
	strangers, err := certs.Write(dir, "stranger")
	if err != nil {
		t.Fatal(err)
	}
	const jaas, security = "listener.name.client.%s.sasl.jaas.config", "org.apache.kafka.common.security."
	cluster := kafkatest.Start(t, kafkatest.Options{
		Protocol: "SASL_SSL",
		Properties: map[string]string{
			"ssl.keystore.type":                              "PEM",
			"ssl.keystore.location":                          files.Bundle,
			"ssl.truststore.type":                            "PEM",
			"ssl.truststore.location":                        files.CA,
			"listener.name.client.ssl.client.auth":           "required",
			"sasl.enabled.mechanisms":                        "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
			fmt.Sprintf(jaas, "plain"):                       security + `plain.PlainLoginModule required user_alice="secret";`,
			fmt.Sprintf(jaas, "scram-sha-256"):               security + "scram.ScramLoginModule required;",
			fmt.Sprintf(jaas, "scram-sha-512"):               security + "scram.ScramLoginModule required;",
			fmt.Sprintf(jaas, "oauthbearer"):                 security + `oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
			"listener.name.client.connections.max.reauth.ms": "3600000",
		},
		Format: []string{"--add-scram", "SCRAM-SHA-256=[name=bob,password=secret]", "--add-scram", "SCRAM-SHA-512=[name=carol,password=secret]"},
	})
	kafkatest.Topic(t, cluster.Internal(), "logins", 1, nil)
	base := auth.Security{Protocol: "SASL_SSL", CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key}
	with := func(mechanism, user, password string) auth.Security {
		s := base
		s.Mechanism, s.Username, s.Password = mechanism, user, password
		return s
	}
	oauth := auth.Security{Mechanism: "OAUTHBEARER", TokenURL: sinktest.NewIssuer(t, time.Hour).URL, ClientID: "walpost", ClientSecret: "secret", Scope: "kafka"}
	oauth.Protocol, oauth.CAFile, oauth.CertFile, oauth.KeyFile = "SASL_SSL", files.CA, files.Cert, files.Key
	stranger, unknown := with("PLAIN", "alice", "secret"), with("PLAIN", "alice", "secret")
	stranger.CAFile = strangers.CA
	unknown.CertFile, unknown.KeyFile = strangers.Cert, strangers.Key
	badToken := oauth
	badToken.ClientSecret = "wrong"
	for _, test := range []struct {
		name     string
		security auth.Security
		wrong    string // what the error says; "": welcome
	}{
		{"PLAIN", with("PLAIN", "alice", "secret"), ""},
		{"SCRAM-SHA-256", with("SCRAM-SHA-256", "bob", "secret"), ""},
		{"SCRAM-SHA-512", with("SCRAM-SHA-512", "carol", "secret"), ""},
		{"OAUTHBEARER", oauth, ""},
		{"wrong password", with("PLAIN", "alice", "canary"), "Authentication failed"},
		{"wrong password, SCRAM", with("SCRAM-SHA-512", "carol", "canary"), "Authentication failed"},
		{"no token", badToken, "invalid_client no such client"},
		{"client of a stranger", unknown, "remote error: tls: unknown certificate"},
		{"server of a stranger", stranger, "certificate signed by unknown authority"},
		{"no TLS", auth.Security{Protocol: "PLAINTEXT"}, "the listener speaks TLS, and kafka.security.protocol is PLAINTEXT; set it to SSL,"},
		{"no TLS below a login", auth.Security{Protocol: "SASL_PLAINTEXT", Mechanism: "PLAIN", Username: "alice", Password: "canary"},
			"the listener speaks TLS, and kafka.security.protocol is SASL_PLAINTEXT; set it to SASL_SSL,"},
		{"no login", auth.Security{Protocol: "SSL", CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key},
			"the listener wants a login, and kafka.security.protocol is SSL; set it to SASL_SSL, and kafka.sasl.mechanism to one that is enabled there: OAUTHBEARER, PLAIN, SCRAM-SHA-256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := config(t, cluster.Brokers())
			cfg.Security = test.security
			if test.wrong == "" { // what was there at the start is of no interest
				cfg.Security.Password, cfg.Security.ClientSecret = "canary", "canary"
				cfg.Renew = func() auth.Security { return test.security }
			}
			k, err := NewKafka(cfg)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			acks := newLedger()
			p, err := k.Open(ctx, acks)
			if test.wrong != "" {
				var perm interface{ Permanent() bool }
				if err == nil || !strings.Contains(err.Error(), test.wrong) || !errors.As(err, &perm) || reason.Of(err) != reason.KafkaLogin && reason.Of(err) != reason.KafkaTLS && reason.Of(err) != reason.KafkaListener || strings.Contains(err.Error(), "canary") {
					t.Errorf("error: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			publish(t, p, event("logins", "k", 1), 1)
			p.Flush(false)
			acks.wait(t, 1, 0)
		})
	}
}
