package config

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The error for every mistake names its place, its key and its cure.
func TestMistakes(t *testing.T) {
	for _, test := range []struct {
		name, file string
		environ    []string
		flags      []Flag
		want       string
	}{
		{name: "misspelt key", file: "kafka:\n  bootstrap.server: a:1\n",
			want: "walpost.yaml:2:3: unknown key kafka.bootstrap.server; did you mean kafka.bootstrap.servers?"},
		{name: "separators", file: "relay:\n  max-in-flight-bytes: 1\n",
			want: "walpost.yaml:2:3: unknown key relay.max-in-flight-bytes; did you mean relay.max_in_flight_bytes?"},
		{name: "misspelt section", file: "postgress:\n  slot: a\n", want: "walpost.yaml:1:1: unknown key postgress; did you mean postgres?"},
		{name: "key of another section", file: "slot: a\n", want: "walpost.yaml:1:1: unknown key slot; did you mean postgres.slot?"},
		{name: "nothing like it", file: "outbox:\n  colour: red\n", want: "walpost.yaml:2:3: unknown key outbox.colour"},
		{name: "nothing near", file: "frobnicate: 1\n", want: "walpost.yaml:1:1: unknown key frobnicate"},
		{name: "dotted", file: "postgres.slot: a\n", want: "walpost.yaml:1:1: unknown key postgres.slot at this level; write slot below postgres"},
		{name: "nested", file: "kafka:\n  linger:\n    ms: 5\n", want: "walpost.yaml:2:3: unknown key kafka.linger; did you mean kafka.linger.ms?"},
		{name: "misspelt column", file: "outbox:\n  columns:\n    agregateid: a\n",
			want: "walpost.yaml:3:5: unknown key outbox.columns.agregateid; did you mean outbox.columns.aggregateid?"},
		{name: "file of what is no secret", file: "postgres:\n  slot_file: a\n", want: "walpost.yaml:2:3: unknown key postgres.slot_file"},
		{name: "twice", file: "postgres:\n  slot: a\n  slot: b\n", want: `walpost.yaml:3:3: not valid YAML: mapping key "slot" already defined at [2:3]`},
		{name: "value and file", file: "kafka:\n  sasl.password: a\n  sasl.password_file: /b\n",
			want: "walpost.yaml:3:23: kafka.sasl.password: is also set at walpost.yaml:2:18; remove one of them\n" +
				"walpost.yaml:3:23: kafka.sasl.password: open /b: no such file or directory"},
		{name: "secret where its file should be", environ: []string{"WALPOST_KAFKA_SASL_PASSWORD_FILE=hunter2"},
			want: "WALPOST_KAFKA_SASL_PASSWORD_FILE: kafka.sasl.password: does not name a readable file; a key that ends in _file needs the path of a file that holds the value"},
		{name: "a list", file: "kafka:\n  bootstrap.servers: [a:1, b:2]\n", want: "walpost.yaml:2:22: kafka.bootstrap.servers: needs one plain value; found a list"},
		{name: "a section that is a value", file: "kafka: a:1\n", want: "walpost.yaml:1:8: kafka holds keys, each with a colon and a space after it; found a plain value"},
		{name: "a file that is a value", file: "hello\n", want: "walpost.yaml:1:1: a configuration holds keys, each with a colon and a space after it; found a plain value"},
		{name: "anchors", file: "postgres: &p\n  slot: a\n", want: "walpost.yaml:1:11: postgres holds keys, each with a colon and a space after it; found an anchor or a reference to one, which this file must not have"},
		{name: "two documents", file: "postgres: {slot: a}\n---\npostgres: {slot: b}\n", want: "walpost.yaml:3:9: a second YAML document; a configuration is a single document"},
		{name: "another key twice", file: "hunter2: a\nhunter2: b\n", want: `walpost.yaml:2:1: not valid YAML: mapping key "…" already defined at [1:1]`},
		{name: "no YAML", file: "postgres:\n  slot: \"a\n", want: `walpost.yaml:2:9: not valid YAML: could not find end character of double-quoted text`},

		{name: "headers that are a value", file: "outbox: {headers_static: a=b}\n",
			want: "walpost.yaml:1:26: outbox.headers_static holds names and values, each with a colon and a space between them; found a plain value"},
		{name: "headers that are a list", file: "outbox: {headers_static: [a]}\n",
			want: "walpost.yaml:1:26: outbox.headers_static holds names and values, each with a colon and a space between them; found a list"},
		{name: "a header without a value", file: "outbox:\n  headers_static:\n    tenant:\n    zone: {a: b}\n",
			want: "walpost.yaml:3:12: outbox.headers_static: the value of tenant is one plain value, \"\" for an empty one; found nothing\n" +
				"walpost.yaml:4:11: outbox.headers_static: the value of zone is one plain value, \"\" for an empty one; found keys"},
		{name: "a header twice", file: "outbox: {headers_static: {1: a, \"1\": b}}\n", want: `walpost.yaml:1:33: not valid YAML: mapping key "…" already defined at [1:27]`},
		{name: "misspelt headers", file: "outbox: {header_static: {a: b}}\n", want: "walpost.yaml:1:10: unknown key outbox.header_static; did you mean outbox.headers_static?"},
		{name: "headers at another place", file: "headers_static: {a: b}\n", want: "walpost.yaml:1:1: unknown key headers_static; did you mean outbox.headers_static?"},
		{name: "a header's variable", environ: []string{"WALPOST_OUTBOX_HEADERS_STATIC_TENANT=eu"},
			want: "environment: unknown variable WALPOST_OUTBOX_HEADERS_STATIC_TENANT; did you mean WALPOST_OUTBOX_HEADERS_STATIC?"},
		{name: "headers without values", environ: []string{"WALPOST_OUTBOX_HEADERS_STATIC=a=b,c"},
			want: `WALPOST_OUTBOX_HEADERS_STATIC: outbox.headers_static: "a=b,c" is not a list of headers; write name=value,name2=value2, each name once, or set a value that has a comma in the file`},
		{name: "headers twice", environ: []string{"WALPOST_OUTBOX_HEADERS_STATIC=a=b, a=c"},
			want: `WALPOST_OUTBOX_HEADERS_STATIC: outbox.headers_static: "a=b, a=c" is not a list of headers; write name=value,name2=value2, each name once, or set a value that has a comma in the file`},
		{name: "reserved headers", file: "outbox: {headers_static: {walpost_a: x, id: x, ce_type: x, content-type: x, \"\": x, ce: x}}\n",
			want: "walpost.yaml:1:26: outbox.headers_static: a name is empty\n" +
				"walpost.yaml:1:26: outbox.headers_static: ce_type is reserved: walpost sets id and the headers that begin with ce_ or walpost_ itself; take another name\n" +
				"walpost.yaml:1:26: outbox.headers_static: content-type follows from the type of the payload's column in profile cloudevents; a row can set another one in its headers column\n" +
				"walpost.yaml:1:26: outbox.headers_static: id is reserved: walpost sets id and the headers that begin with ce_ or walpost_ itself; take another name\n" +
				"walpost.yaml:1:26: outbox.headers_static: walpost_a is reserved: walpost sets id and the headers that begin with ce_ or walpost_ itself; take another name"},

		{name: "no bool", file: "kafka:\n  allow.auto.create.topics: yes\n", want: `walpost.yaml:2:29: kafka.allow.auto.create.topics: "yes" is neither true nor false`},
		{name: "no number", file: "kafka:\n  linger.ms: 5ms\n", want: `walpost.yaml:2:14: kafka.linger.ms: "5ms" is not a whole number`},
		{name: "no size", file: "relay:\n  max_in_flight_bytes: 32M\n",
			want: `walpost.yaml:2:24: relay.max_in_flight_bytes: "32M" is not a size; write a number of bytes, or a number with KiB, MiB or GiB, such as 32MiB`},
		{name: "no duration", file: "relay:\n  shutdown_timeout: 10\n",
			want: `walpost.yaml:2:21: relay.shutdown_timeout: "10" is not a duration; write a number with ms, s, m or h, such as 10s`},

		{name: "misspelt variable", environ: []string{"WALPOST_KAFKA_BOOTSTRAP_SERVER=a:1"},
			want: "environment: unknown variable WALPOST_KAFKA_BOOTSTRAP_SERVER; did you mean WALPOST_KAFKA_BOOTSTRAP_SERVERS?"},
		{name: "variable with a wrong value", environ: []string{"WALPOST_KAFKA_LINGER_MS=x"}, want: `WALPOST_KAFKA_LINGER_MS: kafka.linger.ms: "x" is not a whole number`},
		{name: "misspelt property", flags: []Flag{{"-X linger", "kafka.linger", "5"}}, want: "-X linger: unknown property linger; did you mean -X linger.ms=…?"},
		{name: "property with its section", flags: []Flag{{"-X kafka.linger.ms", "kafka.kafka.linger.ms", "5"}},
			want: "-X kafka.linger.ms: unknown property kafka.linger.ms; did you mean -X linger.ms=…?"},
		{name: "property of another section", flags: []Flag{{"-X relay.shutdown_timeout", "kafka.relay.shutdown_timeout", "5s"}},
			want: "-X relay.shutdown_timeout: unknown property relay.shutdown_timeout; -X sets properties of Kafka: set relay.shutdown_timeout in the file, or WALPOST_RELAY_SHUTDOWN_TIMEOUT"},
		{name: "property of Java", flags: []Flag{{"-X acks", "kafka.acks", "0"}}, want: "-X acks: unknown property acks"},

		{name: "slot", flags: []Flag{{"--slot", "postgres.slot", "My-Slot"}},
			want: `--slot: postgres.slot: "My-Slot" is not a name for a slot; use 1 to 63 lower-case letters, digits and underscores`},
		{name: "replication", file: "postgres: {url: \"postgres://u@h/db?replication=database\"}\n",
			want: "walpost.yaml:1:17: postgres.url: has the parameter replication, which turns each connection into a replication connection; " +
				"remove it: walpost sets it itself where it streams"},
		{name: "publication", file: "postgres: {publication: \"\"}\n", want: `walpost.yaml:1:25: postgres.publication: "" is not a name for a publication; use 1 to 63 bytes`},
		{name: "silence", file: "postgres: {silence: 999ms}\n", want: `walpost.yaml:1:21: postgres.silence: 999ms is less than 1s`},
		{name: "column", file: "outbox: {columns: {payload: \"\"}}\n",
			want: `walpost.yaml:1:29: outbox.columns.payload: is empty; an outbox must have this column: set its name in the table`},
		{name: "topic", file: "outbox: {topic: \"orders.{tenant}\"}\n",
			want: `walpost.yaml:1:17: outbox.topic: topic template "orders.{tenant}": no column {tenant}: name one by its key below outbox.columns`},
		{name: "profile", file: "outbox: {profile: cloudevent}\n", want: `walpost.yaml:1:19: outbox.profile: "cloudevent" is neither cloudevents nor debezium`},
		{name: "retention to come", file: "outbox: {retention: delete}\n",
			want: `walpost.yaml:1:21: outbox.retention: the retention delete is not in this version of walpost yet; leave it at keep`},
		{name: "actions to come", file: "admin: {actions: true}\n",
			want: `walpost.yaml:1:18: admin.actions: the API for actions is not in this version of walpost yet; leave it at false`},
		{name: "backfill", file: "outbox: {backfill: all}\n", want: `walpost.yaml:1:20: outbox.backfill: "all" is neither publish nor skip`},
		{name: "bad events", file: "outbox: {on_bad_event: skip}\n", want: `walpost.yaml:1:24: outbox.on_bad_event: "skip" is neither park nor halt`},
		{name: "servers", file: "kafka: {bootstrap.servers: \"a:1,b\"}\n",
			want: `walpost.yaml:1:28: kafka.bootstrap.servers: "b" is not an address; write host:port, with commas between several`},
		{name: "servers as librdkafka has them", file: "kafka: {bootstrap.servers: \"PLAINTEXT://a:1\"}\n",
			want: `walpost.yaml:1:28: kafka.bootstrap.servers: "PLAINTEXT://a:1" is not an address; write host:port, with commas between several`},
		{name: "port", file: "kafka: {bootstrap.servers: \"a:99999\"}\n",
			want: `walpost.yaml:1:28: kafka.bootstrap.servers: "a:99999" has no valid port; write host:port, with commas between several`},
		{name: "compression", file: "kafka: {compression.type: brotli}\n",
			want: `walpost.yaml:1:27: kafka.compression.type: "brotli": unknown; one of none, gzip, snappy, lz4, zstd`},
		{name: "linger", file: "kafka: {linger.ms: -1}\n", want: `walpost.yaml:1:20: kafka.linger.ms: -1 is less than 0`},
		{name: "request", file: "kafka: {max.request.size: 100MiB}\n",
			want: "walpost.yaml:1:27: kafka.max.request.size: 104857600 is not between 1 and 100000000 bytes\nrelay.max_in_flight_bytes: 32MiB is less than twice kafka.max.request.size, which is 100MiB"},
		{name: "request timeout", file: "kafka: {request.timeout.ms: 999}\n", want: "walpost.yaml:1:29: kafka.request.timeout.ms: 999 is less than 1000, which leaves busy followers no time"},
		{name: "window", file: "relay: {max_in_flight_bytes: 1999999}\n",
			want: "walpost.yaml:1:30: relay.max_in_flight_bytes: 1999999 is less than twice kafka.max.request.size, which is 1000000"},
		{name: "timeout", file: "relay: {shutdown_timeout: 0s}\n", want: "walpost.yaml:1:27: relay.shutdown_timeout: 0s is less than 1ms"},
		{name: "admin", file: "admin: {listen: localhost}\n", want: `walpost.yaml:1:17: admin.listen: "localhost" is not an address; write host:port, or "" for no server`},
		{name: "admin's port", file: "admin: {listen: \"localhost:http\"}\n", want: `walpost.yaml:1:17: admin.listen: "localhost:http" has no valid port`},
		{name: "admin's file", file: "admin: {web_config: /no/such}\n", want: `walpost.yaml:1:21: admin.web_config: /no/such: open /no/such: no such file or directory; name a file that this user may read`},

		{name: "protocol", flags: []Flag{{"-X security.protocol", "kafka.security.protocol", "sasl_ssl"}},
			want: `-X security.protocol: kafka.security.protocol: "sasl_ssl" is not one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL`},
		{name: "no mechanism", file: "kafka: {security.protocol: SASL_SSL}\n",
			want: `kafka.sasl.mechanism: is required by security.protocol SASL_SSL; one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER`},
		{name: "authority without encryption", file: "kafka: {ssl.ca.location: /ca.pem}\n",
			want: `walpost.yaml:1:26: kafka.ssl.ca.location: is set, but security.protocol is PLAINTEXT, which does not encrypt; set SSL or SASL_SSL`},

		{name: "a client's secret in clear", file: "kafka:\n  security.protocol: SASL_SSL\n  sasl.mechanism: OAUTHBEARER\n" +
			"  sasl.oauthbearer.client.id: walpost\n  sasl.oauthbearer.client.secret: canary\n" +
			"  sasl.oauthbearer.token.endpoint.url: http://id.example/token\n",
			want: "walpost.yaml:6:40: kafka.sasl.oauthbearer.token.endpoint.url: http would send the client's secret to id.example in clear text; use https://, which is required except for a loopback address"},
		{name: "partitioner", file: "kafka: {partitioner: random}\n", want: `walpost.yaml:1:22: kafka.partitioner: "random": unknown; one of murmur2, crc32, fnv1a`},
		{name: "client", flags: []Flag{{"-X client.id", "kafka.client.id", strings.Repeat("x", 40_000)}}, want: `-X client.id: kafka.client.id: has 40000 bytes; Kafka takes up to 32767`},
		{name: "position header", file: "outbox: {position_header: maybe}\n", want: `walpost.yaml:1:27: outbox.position_header: "maybe" is neither true nor false`},
		{name: "read-back", file: "relay: {read_back: no}\n", want: `walpost.yaml:1:20: relay.read_back: "no" is neither true nor false`},
		{name: "a key's password without a key", file: "kafka: {security.protocol: SSL, ssl.key.password: canary}\n",
			want: `walpost.yaml:1:51: kafka.ssl.key.password: is set, but no key is; set ssl.certificate.location and ssl.key.location`},
		{name: "a password that nobody is shown", environ: []string{"WALPOST_KAFKA_SASL_PASSWORD=canary"},
			want: `WALPOST_KAFKA_SASL_PASSWORD: kafka.sasl.password: is set, but security.protocol is PLAINTEXT, which does not log in; set SASL_SSL or SASL_PLAINTEXT`},
		{name: "a topic that there cannot be", file: "outbox: {topic: ..}\n",
			want: `walpost.yaml:1:17: outbox.topic: topic template "..": no topic can have that name: Kafka allows 1 to 249 characters, and . and .. are no names`},
		{name: "a byte order mark and a misspelt key", file: "\ufeffkafka:\n  lingerms: 5\n", want: `walpost.yaml:2:3: unknown key kafka.lingerms; did you mean kafka.linger.ms?`},

		{name: "several", file: "postgres:\n  slott: a\nkafka:\n  linger.ms: x\n", environ: []string{"WALPOST_OUTBOX_TABEL=t"}, flags: []Flag{{"--slot", "postgres.slot", "A"}},
			want: "walpost.yaml:2:3: unknown key postgres.slott; did you mean postgres.slot?\n" +
				"environment: unknown variable WALPOST_OUTBOX_TABEL; did you mean WALPOST_OUTBOX_TABLE?\n" +
				"walpost.yaml:4:14: kafka.linger.ms: \"x\" is not a whole number\n" +
				"--slot: postgres.slot: \"A\" is not a name for a slot; use 1 to 63 lower-case letters, digits and underscores"},
	} {
		t.Run(test.name, func(t *testing.T) {
			write(t, test.file)
			_, err := Load(Sources{Environ: test.environ, Flags: test.flags})
			check(t, err, test.want)
		})
	}
}

func TestMissingFile(t *testing.T) {
	write(t, "")
	_, err := Load(Sources{File: "nowhere.yaml"})
	check(t, err, "read configuration: open nowhere.yaml: no such file or directory; name a file that exists, or none: ./walpost.yaml is read if it exists")
}

const canary = "canary"

// No output and no error contains a secret, wherever and however it was mistyped.
func TestSecretsStaySecret(t *testing.T) {
	files := []string{
		"kafka:\n  sasl.password:canary\n",
		"kafka:\n  sasl.password: canary: x\n",
		"kafka:\n  sasl.password: \"canary\n",
		"kafka:\n  sasl.password: 'canary' x\n",
		"kafka:\n  sasl.password: [canary]\n",
		"kafka:\n  sasl.password: {canary: 1}\n",
		"kafka:\n  sasl.password: &canary\n",
		"kafka:\n  sasl.password: *canary\n",
		"kafka:\n  sasl.password: !canary x\n",
		"kafka:\n  sasl.password: |canary\n",
		"kafka:\n  sasl.password: canary\n   x: y\n",
		"kafka:\n  sasl.password: canary\n  sasl.password: canary\n",
		"kafka:\n  sasl.password: canary\n\tsasl.username: x\n",
		"kafka:\n  sasl.pasword: canary\n",
		"kafka:\n  sasl.password@canary: 1\n",
		"kafka: sasl.password=canary\n",
		"kafka:\n  security.protocol: SASL_SSL\n  sasl.mechanism: SCRAM-SHA-256\n  sasl.username: u\n  sasl.password: \"canary\\u0007\"\n",
		"kafka:\n  security.protocol: SASL_SSL\n  sasl.mechanism: OAUTHBEARER\n  sasl.oauthbearer.token.endpoint.url: https://u:canary@h/\n",
		"kafka:\n  sasl.password: canary\n  ssl.key.password: canary\n  sasl.oauthbearer.client.secret: canary\n",
		"kafka:\n  sasl.password_file: canary\n",
		"canary",
	}
	for _, url := range []string{
		"canary x=1", "postgres://u:canary@h/db", "postgresql://u:canary@h:1,h:2/db?sslmode=require", "postgres://u:can/canary@h/db", "postgres://u:x@canary@h/db",
		"postgres://u:x?canary@h/db", "postgres://u:x:canary/y@h/db", "postgres://u:%canary@h/db", "postgres://u:x canary@h/db", "postgres://u:x#canary@h/db",
		"postgres://h/db?user=u&password=canary", "postgres://h/db?sslpassword=canary", "postgres://h/db?pasword=canary", "postgres://h/db?%70assword=canary",
		"postgres://u:/canary@h:1/db", "postgres://u:123/canary@h:1/db", "postgresql://u:/x@canary@h/db", "postgres://u:x@y/canary@h/db", "postgres://u:/x?canary@h/db",
		"postgres://u:/x?canary=y@h/db", "postgres://u:/x?y=canary@h/db",
		"host=h password=canary", "host=h password = canary", "host=h password='canary x'", `host=h password='it\'s canary'`, "host=h pasword=canary",
		"host=h password='canary", `host=h password=x\ canary`, "host=h password=x canary", "canary", "host=h options=canary",
		"host=h sslmode=require sslpassword=canary", "host=h sslrootcert=/none password=canary", "service=none servicefile=/none password=canary", "password=canary sslmode=none",
	} {
		files = append(files, fmt.Sprintf("postgres:\n  url: %q\n", url))
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			write(t, file)
			c, err := Load(Sources{})
			var out bytes.Buffer
			if err := c.Print(&out); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "%v\n%v\n%+v\n%#v\n", err, c.Kafka.SASLPassword, c.Postgres, c.Postgres)
			if strings.Contains(out.String(), canary) {
				t.Errorf("it is shown:\n%s", &out)
			}
		})
	}
}

// A slash in a password would make the rest of it the database's name, which is not kept secret: ce_source, logs and errors contain it.
func TestRawSlashInPassword(t *testing.T) {
	write(t, "")
	const want = "WALPOST_POSTGRES_URL: postgres.url: is not a connection string: it has an @ after the first slash, as if the password contained a slash; " +
		"write postgres://user:password@host:5432/database, with special characters of the password percent-encoded (/ is %2F, @ is %40), or host=… user=… dbname=…"
	for url, want := range map[string]string{
		"postgres://relay:/canary@127.0.0.1:54440/shop":    want,
		"postgresql://relay:123/canary@127.0.0.1:1/shop":   want,
		"postgres://relay:x@y/canary@h/shop":               want,
		"postgres://relay:/x?canary@h/shop":                want,
		"postgres://relay:/x?canary=1@h/shop":              want,
		"postgres://relay:%2Fcanary@127.0.0.1:54440/shop":  "",
		"postgres://relay:x?canary@h/shop":                 "",
		"postgres://h/shop%40home":                         "",
		"postgres://h/shop?user=me@server&password=c@nary": "",
		"postgres://u@/shop?host=@socket":                  "",
		"postgres://?host=/run/postgresql&user=me@server":  "",
		"host=/run/postgresql password=a://b/canary@c":     "",
	} {
		_, err := Load(Sources{Environ: []string{"WALPOST_POSTGRES_URL=" + url}})
		t.Log(url)
		check(t, err, want)
	}
}

func TestRedactedConnStrings(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "",
		"postgres://h/db":   "postgres://h/db",
		"postgres://u@h/db": "postgres://u@h/db",
		"postgres://u:p@h:5432/db?sslmode=require&password=x": "postgres://u:***@h:5432/db?sslmode=require&password=***",
		"postgresql://u:p@a:1,b:2/db":                         "postgresql://u:***@a:1,b:2/db",
		"postgres://u:a@b/c:d@h/db":                           "postgres://u:***@h/db",
		"postgres://u:p?x@h/db":                               "postgres://***",
		"host=h user = u password = p dbname=d":               "host=h user=u password=*** dbname=d",
		`user=u password='a b\'c' port=5432`:                  "user=u password=*** port=5432",
		"secret":                                              "***",
		"host=h some words=x":                                 "***",
	} {
		if got := redactConnString(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// The web configuration contains hashes of passwords, and a wrong file may contain anything. An error shows nothing of either, and says on
// one line what is wrong.
func TestWebConfigIsNotQuoted(t *testing.T) {
	write(t, "admin: {web_config: web.yaml}\n")
	if err := os.WriteFile("canary.pem", []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	const tls = "tls_server_config:\n  cert_file: canary.pem\n"
	for text, says := range map[string]string{
		"basic_auth_users: canary\n": "not allowed in this file (line 1);",
		"canary: x\n":                "not allowed in this file (line 1);",
		"tls_server_config: {}\ncanary: x\n\"line 7: canary\": y\n": "not allowed in this file (line 2);",
		"basic_auth_users:\n  me: [canary]\n":                       "not allowed in this file (line 2);",
		"alice:$2y$10$canary\nbob:$2y$10$canary\n":                  "not allowed in this file (line 1);", // an htpasswd file
		"alice: $2y$10$canary\nbob: $2y$10$canary\n":                "not allowed in this file (line 1);",
		"kafka:\n  sasl.password: canary\n":                         "not allowed in this file (line 1);", // our own
		"basic_auth_users:\n  me: 'canary\n":                        "it is not valid YAML",
		"\tcanary: x\n":                                             "it is not valid YAML",
		"basic_auth_users:\n  canary: canary\n":                     "not a bcrypt hash",
		"basic_auth_users:\n  me: xcanaryxcanaryxcanaryxcanaryxcanaryxcanaryxcanaryxcanaryxcanary\n": "not a bcrypt hash",
		"http_server_config: {headers: {canary: x}}\n":                                               "http_server_config.headers",
		"http_server_config: {headers: {X-Frame-Options: canary}}\n":                                 "http_server_config.headers",
		"tls_server_config: {min_version: canary}\n":                                                 "TLS13",
		"tls_server_config: {cipher_suites: [canary]}\n":                                             "cipher_suites",
		"tls_server_config: {curve_preferences: [canary]}\n":                                         "curve_preferences",
		"tls_server_config: {cert_file: canary.pem}\n":                                               "neither key nor key_file",
		"tls_server_config: {key: canary}\n":                                                         "neither cert nor cert_file",
		tls + "  key_file: canary\n":                                                                 "key_file names no file",
		"tls_server_config: {cert_file: canary, key: canary}\n":                                      "cert_file names no file",
		tls + "  key_file: canary.pem\n":                                                             "not a pair in PEM form",
	} {
		if err := os.WriteFile("web.yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(Sources{})
		if err == nil || !strings.HasPrefix(err.Error(), "walpost.yaml:1:21: admin.web_config: web.yaml: ") || !strings.Contains(err.Error(), says) ||
			!strings.HasSuffix(err.Error(), "; write it as Prometheus documents it, with no other keys than basic_auth_users, tls_server_config, http_server_config and rate_limit") ||
			strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

// The parser is a library. No input may make it panic.
func FuzzParseFile(f *testing.F) {
	for _, text := range []string{"", "postgres: {slot: a}", "a: &b\n- *b", "? x\n: y", "kafka:\n  linger.ms: 5\n", "|\n x", "%YAML 1.2\n---\n<<: {}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		settings, errs := parseFile("walpost.yaml", []byte(text))
		if len(errs) == 0 {
			for _, s := range settings {
				if s.key == nil {
					t.Errorf("a setting of nothing: %+v", s)
				}
			}
		}
	})
}
