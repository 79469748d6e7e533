package kafkatest

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"

	"github.com/IBM/sarama"

	"walpost/internal/testenv/certs"
)

// The clients of this broker need TLS and a password. Its SCRAM user exists from the beginning. The internal listener stays plain.
func TestClientListenerWithTLSAndPasswords(t *testing.T) {
	files, err := certs.Write(t.TempDir(), "kafka")
	if err != nil {
		t.Fatal(err)
	}
	cluster := Start(t, Options{
		Protocol: "SASL_SSL",
		Properties: map[string]string{
			"ssl.keystore.type":                                   "PEM",
			"ssl.keystore.location":                               files.Bundle,
			"sasl.enabled.mechanisms":                             "PLAIN,SCRAM-SHA-256",
			"listener.name.client.plain.sasl.jaas.config":         `org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="secret";`,
			"listener.name.client.scram-sha-256.sasl.jaas.config": `org.apache.kafka.common.security.scram.ScramLoginModule required;`,
		},
		Format: []string{"--add-scram", "SCRAM-SHA-256=[name=bob,password=hidden]"},
	})
	Topic(t, cluster.Internal(), "plain", 1, nil)
	admin, err := sarama.NewClusterAdmin(cluster.Internal(), config())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	users, err := admin.DescribeUserScramCredentials([]string{"bob"})
	if err != nil || len(users) != 1 || len(users[0].CredentialInfos) != 1 {
		t.Errorf("SCRAM users: %v, %v", users, err)
	}
	pem, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for password, welcome := range map[string]bool{"secret": true, "wrong": false} {
		c := config()
		c.Metadata.Retry.Max = 0
		c.Net.TLS.Enable, c.Net.TLS.Config = true, &tls.Config{RootCAs: roots}
		c.Net.SASL.Enable, c.Net.SASL.User, c.Net.SASL.Password = true, "alice", password
		client, err := sarama.NewClient(cluster.Brokers(), c)
		if err == nil {
			_ = client.Close()
		}
		if (err == nil) != welcome {
			t.Errorf("password %q: %v", password, err)
		}
	}
}
