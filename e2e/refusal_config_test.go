package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A configuration that cannot work: exit code 2, and a message that says where
// the error is and what would be right.
func TestRefusesConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		args []string
		env  []string
		says []string
	}{
		"misspelt key": {
			file: "kafka:\n  bootstrap.servers: 127.0.0.1:9092\n  compresion.type: zstd\n",
			says: []string{"walpost.yaml", "3", "compresion.type", "compression.type"},
		},
		"misspelt section": {
			file: "postgres:\n  slot: a\noutbx:\n  table: a.b\n",
			says: []string{"walpost.yaml", "3", "outbx", "outbox"},
		},
		"no yaml": {
			file: "kafka: [1, 2\n",
			says: []string{"walpost.yaml"},
		},
		"wrong kind of value": {
			file: "relay:\n  shutdown_timeout: soon\n",
			says: []string{"walpost.yaml", "shutdown_timeout", "soon"},
		},
		"misspelt key with a secret in it": {
			file: "kafka:\n  sasl.pasword: hidden-word\n",
			says: []string{"sasl.pasword", "sasl.password"},
		},
		"no such file": {
			args: []string{"-c", "absent.yaml"},
			says: []string{"absent.yaml", "name a file that exists"},
		},
		"a folder": {
			args: []string{"-c", "/"},
			says: []string{"is a directory", "name a file"},
		},
		"no connection string": {
			env:  []string{"WALPOST_POSTGRES_URL=postgres://walpost:hidden-word@db:port/shop"},
			says: []string{"WALPOST_POSTGRES_URL: postgres.url", "is not a connection string", "postgres://user:password@host:5432/database"},
		},
		"a raw slash in the password": {
			env:  []string{"WALPOST_POSTGRES_URL=postgres://walpost:/hidden-word@127.0.0.1:1/shop"},
			says: []string{"WALPOST_POSTGRES_URL: postgres.url", "percent-encoded", "%2F"},
		},
		"connection string for replication": {
			env:  []string{"WALPOST_POSTGRES_URL=postgres://walpost:hidden-word@db/shop?replication=database"},
			says: []string{"WALPOST_POSTGRES_URL: postgres.url", "has the parameter replication", "remove it"},
		},
		"no slot's name": {
			args: []string{"--slot", "My-Slot"},
			says: []string{"--slot: postgres.slot", "My-Slot", "lower-case letters"},
		},
		"no table's name": {
			args: []string{"--table", "outbox"},
			says: []string{"--table: outbox.table", "outbox", "schema.table"},
		},
		"no broker's address": {
			args: []string{"--kafka", "kafka"},
			says: []string{"--kafka: kafka.bootstrap.servers", "kafka", "host:port"},
		},
		"a login without its mechanism": {
			env:  []string{"WALPOST_KAFKA_SECURITY_PROTOCOL=SASL_SSL", "WALPOST_KAFKA_SASL_PASSWORD=hidden-word"},
			says: []string{"kafka.sasl.mechanism", "SASL_SSL", "SCRAM-SHA-512"},
		},
		"no file with the secret": {
			env:  []string{"WALPOST_KAFKA_SASL_PASSWORD_FILE=hidden-word"},
			says: []string{"WALPOST_KAFKA_SASL_PASSWORD_FILE", "path of a file"},
		},
		"another file as the web configuration": { // here the configuration itself
			file: "admin:\n  web_config: walpost.yaml\nkafka:\n  client.id: hidden-word\n",
			says: []string{"admin.web_config: walpost.yaml", "(line 1)", "basic_auth_users"},
		},
		"a password that nobody is shown": {
			env:  []string{"WALPOST_KAFKA_SASL_PASSWORD=hidden-word"},
			says: []string{"kafka.sasl.password", "PLAINTEXT", "set SASL_SSL"},
		},
		"a key's password without a key": {
			env:  []string{"WALPOST_KAFKA_SECURITY_PROTOCOL=SSL", "WALPOST_KAFKA_SSL_KEY_PASSWORD=hidden-word"},
			says: []string{"kafka.ssl.key.password", "no key is", "ssl.key.location"},
		},
		"unknown partitioner": {
			env:  []string{"WALPOST_KAFKA_PARTITIONER=random"},
			says: []string{"kafka.partitioner", "random", "murmur2"},
		},
		"neither true nor false": {
			file: "outbox:\n  position_header: maybe\nrelay:\n  read_back: no\n",
			says: []string{"outbox.position_header", "maybe", "relay.read_back", "neither true nor false"},
		},
		"client's name too long": {
			args: []string{"-X", "client.id=" + strings.Repeat("x", 40_000)},
			says: []string{"kafka.client.id", "32767"},
		},
		"property with its section": {
			args: []string{"-X", "kafka.linger.ms=5"},
			says: []string{"kafka.linger.ms", "did you mean -X linger.ms"},
		},
		"unknown codec": {
			env:  []string{"WALPOST_KAFKA_COMPRESSION_TYPE=zip"},
			says: []string{"compression.type", "zip", "zstd"},
		},
		"unknown variable": {
			env:  []string{"WALPOST_KAFKA_BOOTSTRAP_SERVER=x:1"},
			says: []string{"WALPOST_KAFKA_BOOTSTRAP_SERVER", "WALPOST_KAFKA_BOOTSTRAP_SERVERS"},
		},
		"budget below two requests": {
			env:  []string{"WALPOST_RELAY_MAX_IN_FLIGHT_BYTES=1MiB", "WALPOST_KAFKA_MAX_REQUEST_SIZE=1000000"},
			says: []string{"max_in_flight_bytes", "max.request.size"},
		},
		"topic template of an unknown column": {
			env:  []string{"WALPOST_OUTBOX_TOPIC=events.{agregatetype}"},
			says: []string{"outbox.topic", "agregatetype", "aggregatetype"},
		},
		"topic template that no topic can have": {
			env:  []string{"WALPOST_OUTBOX_TOPIC=events/{aggregatetype}"},
			says: []string{"outbox.topic", "/"},
		},
		"unknown flag": {
			args: []string{"--slott", "a"},
			says: []string{"--slott"},
		},
		"unknown property": {
			args: []string{"-X", "linger=5"},
			says: []string{"linger", "linger.ms"},
		},
		"argument too many": {
			args: []string{"now"},
			says: []string{"run takes flags only"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipe(t)
			file := filepath.Join(p.home.Dir(), "walpost.yaml")
			if c.file != "" {
				if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r := p.cli(t, c.env, append([]string{"run"}, c.args...)...)
			refusal{code: 2, says: c.says}.check(t, r.code, r.stderr)
			if r.stdout != "" {
				t.Errorf("on standard output: %s", r.stdout)
			}
			p.untouched(t)
			if c.args == nil {
				r := p.cli(t, c.env, "config", "validate")
				refusal{code: 2, says: c.says}.check(t, r.code, r.stderr)
			}
		})
	}
}

// A restart does not cure an address that is in use.
func TestRefusesTakenAddress(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p := newPipe(t).withSchema(t)
	r := p.cli(t, []string{"WALPOST_ADMIN_LISTEN=" + taken.Addr().String()}, "run")
	refusal{code: 2, says: []string{"admin.listen", taken.Addr().String(), "is used by another process", "set another address"}}.check(t, r.code, r.stderr)
	p.untouched(t)
}

// A secret is sent only to the server that it belongs to.
func TestConfigPrintMasksSecrets(t *testing.T) {
	p := newPipe(t)
	file := filepath.Join(p.home.Dir(), "password")
	if err := os.WriteFile(file, []byte("hidden-word-of-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := p.cli(t, []string{
		"WALPOST_POSTGRES_URL=postgres://alice:hidden-word@db.example/shop",
		"WALPOST_KAFKA_SECURITY_PROTOCOL=SASL_SSL", "WALPOST_KAFKA_SASL_MECHANISM=PLAIN",
		"WALPOST_KAFKA_SASL_USERNAME=alice", "WALPOST_KAFKA_SASL_PASSWORD_FILE=" + file,
	}, "config", "print")
	refusal{code: 0, says: []string{"db.example", "alice", "SASL_SSL"}}.check(t, r.code, r.stdout+r.stderr)
}
