package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"walpost/schema"
	"walpost/sink/record"
)

// write creates a folder for the test with a file walpost.yaml, and makes it the current folder.
func write(t *testing.T, text string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, v := range os.Environ() { // libpq's variables on this machine
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	if text != "" {
		if err := os.WriteFile("walpost.yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// check fails unless the text of err is exactly want, with one line for each problem.
func check(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != strings.TrimSpace(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// other returns a value of the key's type that is not the default. With another suffix, it is another value.
func other(c *Config, k *key, suffix string) string {
	switch text := c.text(k); {
	case k.headers:
		return "other=" + suffix
	case text == "true" || text == "false":
		return map[string]string{"1": "false", "2": "true", "3": "false"}[suffix]
	case c.set(k, "1s") == nil && (k.path == "relay.shutdown_timeout" || k.path == "postgres.silence"):
		return suffix + "s"
	case c.set(k, "100") == nil:
		return suffix + "00"
	}
	return "other" + suffix
}

// For every key, a value from a higher level overrides a value from a lower one.
func TestPrecedence(t *testing.T) {
	for i := range keys {
		k := &keys[i]
		t.Run(k.path, func(t *testing.T) {
			inFile, inEnv, inFlag := other(Default(), k, "1"), other(Default(), k, "2"), other(Default(), k, "3")
			section := sectionOf(k.path)
			yaml, indent := "", ""
			for _, name := range strings.Split(section, ".") {
				yaml += indent + name + ":\n"
				indent += "  "
			}
			written := inFile
			if k.headers {
				written = "{" + strings.Replace(inFile, "=", ": ", 1) + "}"
			}
			write(t, yaml+indent+strings.TrimPrefix(k.path, section+".")+": "+written+"\n")
			c := Default()
			shows := func(level string, s Sources, want string) {
				t.Helper()
				got, _ := Load(s) // most of these values are wrong, but that does not matter here
				if err := c.set(k, want); err != nil {
					t.Fatal(err)
				}
				if got.raw(k) != c.raw(k) {
					t.Errorf("%s: %q, want %q", level, got.raw(k), c.raw(k))
				}
			}
			env := []string{k.env + "=" + inEnv}
			shows("file", Sources{}, inFile)
			shows("environment", Sources{Environ: env}, inEnv)
			shows("flag", Sources{Environ: env, Flags: []Flag{{"-X", k.path, "unused"}, {"-X", k.path, inFlag}}}, inFlag)
			if err := os.Remove("walpost.yaml"); err != nil {
				t.Fatal(err)
			}
			got, err := Load(Sources{})
			check(t, err, "")
			if got.raw(k) != Default().raw(k) {
				t.Errorf("default: %q", got.raw(k))
			}
		})
	}
}

// raw returns the same as text, without masking secrets.
func (c *Config) raw(k *key) string {
	if k.secret {
		return map[string]string{
			"postgres.url": string(c.Postgres.URL), "kafka.sasl.password": string(c.Kafka.SASLPassword),
			"kafka.sasl.oauthbearer.client.secret": string(c.Kafka.SASLClientSecret), "kafka.ssl.key.password": string(c.Kafka.SSLKeyPassword),
		}[k.path]
	}
	return c.text(k)
}

// Users rely on the names, so they are spelt out here, in the order of the file.
func TestVariables(t *testing.T) {
	want := strings.Fields(`
		WALPOST_POSTGRES_URL WALPOST_POSTGRES_SLOT WALPOST_POSTGRES_PUBLICATION WALPOST_POSTGRES_SILENCE
		WALPOST_OUTBOX_TABLE WALPOST_OUTBOX_COLUMNS_ID WALPOST_OUTBOX_COLUMNS_AGGREGATETYPE WALPOST_OUTBOX_COLUMNS_AGGREGATEID
		WALPOST_OUTBOX_COLUMNS_TYPE WALPOST_OUTBOX_COLUMNS_PAYLOAD WALPOST_OUTBOX_COLUMNS_HEADERS WALPOST_OUTBOX_COLUMNS_CREATED_AT
		WALPOST_OUTBOX_COLUMNS_TIMESTAMP WALPOST_OUTBOX_COLUMNS_TOPIC WALPOST_OUTBOX_COLUMNS_PARTITION
		WALPOST_OUTBOX_TOPIC WALPOST_OUTBOX_PROFILE WALPOST_OUTBOX_BACKFILL WALPOST_OUTBOX_RETENTION WALPOST_OUTBOX_ON_BAD_EVENT WALPOST_OUTBOX_BLOCKED_TOPIC WALPOST_OUTBOX_MAX_PARKED_BYTES
		WALPOST_OUTBOX_SOURCE WALPOST_OUTBOX_HEADERS_STATIC WALPOST_OUTBOX_POSITION_HEADER
		WALPOST_KAFKA_BOOTSTRAP_SERVERS WALPOST_KAFKA_CLIENT_ID WALPOST_KAFKA_COMPRESSION_TYPE WALPOST_KAFKA_LINGER_MS
		WALPOST_KAFKA_MAX_REQUEST_SIZE WALPOST_KAFKA_REQUEST_TIMEOUT_MS WALPOST_KAFKA_SECURITY_PROTOCOL WALPOST_KAFKA_SASL_MECHANISM WALPOST_KAFKA_SASL_USERNAME
		WALPOST_KAFKA_SASL_PASSWORD WALPOST_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL WALPOST_KAFKA_SASL_OAUTHBEARER_CLIENT_ID
		WALPOST_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET WALPOST_KAFKA_SASL_OAUTHBEARER_SCOPE WALPOST_KAFKA_SSL_CA_LOCATION
		WALPOST_KAFKA_SSL_CERTIFICATE_LOCATION WALPOST_KAFKA_SSL_KEY_LOCATION WALPOST_KAFKA_SSL_KEY_PASSWORD WALPOST_KAFKA_PARTITIONER
		WALPOST_KAFKA_ALLOW_AUTO_CREATE_TOPICS
		WALPOST_RELAY_MAX_IN_FLIGHT_BYTES WALPOST_RELAY_SHUTDOWN_TIMEOUT WALPOST_RELAY_READ_BACK
		WALPOST_ADMIN_LISTEN WALPOST_ADMIN_WEB_CONFIG WALPOST_ADMIN_ACTIONS
		WALPOST_LOG_LEVEL`)
	var got []string
	for _, k := range keys {
		got = append(got, k.env)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("variables are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// An empty variable sets nothing, as with libpq and OpenTelemetry. It counts only for keys that cannot be turned off in another way.
func TestEmptyVariables(t *testing.T) {
	write(t, "outbox:\n  columns:\n    topic: target\nkafka:\n  bootstrap.servers: a:1\nrelay:\n  shutdown_timeout: 3s\n")
	var environ []string
	for _, k := range keys {
		environ = append(environ, k.env+"=")
		if k.secret {
			environ = append(environ, k.env+envFileSuffix+"=")
		}
	}
	c, err := Load(Sources{Environ: environ})
	check(t, err, "")
	d := Default()
	if c.Kafka.BootstrapServers != "a:1" || c.Outbox.Columns.Topic != "target" || c.Relay.ShutdownTimeout != 3*time.Second {
		t.Errorf("an empty variable wins over the file: %+v", c)
	}
	if c.Kafka.ClientID != d.Kafka.ClientID || c.Outbox.Columns.Payload != d.Outbox.Columns.Payload || c.Relay.ReadBack != d.Relay.ReadBack {
		t.Errorf("an empty variable wins over the default: %+v", c)
	}
	if c.Admin.Listen != "" || c.Outbox.Columns.Headers != "" || c.Outbox.Columns.CreatedAt != "" {
		t.Errorf("an empty variable does not turn off: %+v", c)
	}
}

func TestSecretsFromFiles(t *testing.T) {
	write(t, "kafka:\n  security.protocol: SASL_PLAINTEXT\n  sasl.mechanism: PLAIN\n  sasl.username: me\n  sasl.password_file: ./pw\n")
	for name, text := range map[string]string{"pw": "from the file\n", "url": "postgres://me@db/shop\r\n", "other": "from the other"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(Sources{Environ: []string{"WALPOST_POSTGRES_URL_FILE=./url"}})
	check(t, err, "")
	if c.Kafka.SASLPassword != "from the file" || c.Postgres.URL != "postgres://me@db/shop" {
		t.Errorf("password %q, url %q", string(c.Kafka.SASLPassword), string(c.Postgres.URL))
	}
	c, err = Load(Sources{Flags: []Flag{{"-X sasl.password_file", "kafka.sasl.password_file", "./other"}}})
	check(t, err, "")
	if c.Kafka.SASLPassword != "from the other" {
		t.Errorf("password %q", string(c.Kafka.SASLPassword))
	}
}

func TestDatabaseURL(t *testing.T) {
	write(t, "")
	platform := "DATABASE_URL=postgres://platform/db"
	for name, test := range map[string]struct {
		environ []string
		want    Secret
	}{
		"alone":    {[]string{platform}, "postgres://platform/db"},
		"not ours": {[]string{platform, "WALPOST_POSTGRES_URL=postgres://ours/db"}, "postgres://ours/db"},
		"empty":    {[]string{platform, "WALPOST_POSTGRES_URL="}, "postgres://platform/db"},
		"neither":  {[]string{"DATABASE_URL="}, ""},
	} {
		c, err := Load(Sources{Environ: test.environ})
		check(t, err, "")
		if c.Postgres.URL != test.want {
			t.Errorf("%s: %q, want %q", name, string(c.Postgres.URL), string(test.want))
		}
	}
	_, err := Load(Sources{Environ: []string{"DATABASE_URL=mysql"}})
	check(t, err, `DATABASE_URL: postgres.url: is not a connection string: parse as keyword/value; write postgres://user:password@host:5432/database, `+
		`with special characters of the password percent-encoded (/ is %2F, @ is %40), or host=… user=… dbname=…`)
}

// If a Service is named walpost, Kubernetes sets these variables in every container beside it. An error would keep the relay from starting.
func TestForeignVariables(t *testing.T) {
	write(t, "")
	_, err := Load(Sources{Environ: []string{
		"WALPOST_TEST_POSTGRES=x", "WALPOST_SERVICE_HOST=10.0.0.1", "WALPOST_SERVICE_PORT=8488", "WALPOST_SERVICE_PORT_ADMIN=8488",
		"WALPOST_PORT=tcp://10.0.0.1:8488", "WALPOST_PORT_8488_TCP=tcp://10.0.0.1:8488", "WALPOST_PORT_8488_TCP_PROTO=tcp",
		"WALPOST_PORT_8488_TCP_PORT=8488", "WALPOST_PORT_8488_TCP_ADDR=10.0.0.1", "WALPOST_ADMIN_SERVICE_HOST=10.0.0.2", "PATH=/bin", "WALPOSTER=1",
	}})
	check(t, err, "")
	for _, k := range keys {
		if foreign.MatchString(k.env) {
			t.Errorf("%s counts as foreign", k.env)
		}
	}
}

func TestValuesAsTheyAreWritten(t *testing.T) {
	write(t, `
postgres:
  slot: 0042        # text, although YAML takes it for a number
  publication: "no"
  url:              # nothing: the default
outbox:
  columns: {id: event_id, headers: headers, topic: route}
kafka:
  client.id: |
    walpost
  "linger.ms": 5
  max.request.size: 512KiB
relay:
  max_in_flight_bytes: 64MiB
  shutdown_timeout: 1m30s
  read_back: false
admin:
  listen: ""
`)
	c, err := Load(Sources{})
	check(t, err, "")
	want := Default()
	want.Postgres.Slot, want.Postgres.Publication = "0042", "no"
	want.Outbox.Columns.ID, want.Outbox.Columns.Topic = "event_id", "route"
	want.Kafka.LingerMS, want.Kafka.MaxRequestSize = 5, 512<<10
	want.Relay.MaxInFlightBytes, want.Relay.ShutdownTimeout, want.Relay.ReadBack = 64<<20, 90*time.Second, false
	want.Admin.Listen = ""
	for i := range keys {
		if got := c.raw(&keys[i]); got != want.raw(&keys[i]) {
			t.Errorf("%s is %q, want %q", keys[i].path, got, want.raw(&keys[i]))
		}
	}
	m := c.Mapping()
	for col := schema.ID; col < schema.NumColumns; col++ {
		if explicit := col == schema.ID || col == schema.Headers || col == schema.Topic; m.Explicit[col] != explicit {
			t.Errorf("column %s: explicit is %v", col, m.Explicit[col])
		}
	}
	if m.Names[schema.ID] != "event_id" || m.Names[schema.Topic] != "route" || m.Names[schema.CreatedAt] != "created_at" {
		t.Errorf("columns %q", m.Names)
	}
}

func TestDefaultsAreTheSchemas(t *testing.T) {
	if got, want := Default().Mapping(), schema.DefaultMapping(); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// By default, walpost chooses the same partitions as Java's producers, so that consumers can join walpost's topics with those of Java
// producers.
func TestDefaultPartitionerIsJavas(t *testing.T) {
	write(t, "")
	c, err := Load(Sources{})
	check(t, err, "")
	if got, err := c.Sink(); err != nil || got.Partitioner != record.Murmur2 {
		t.Errorf("partitioner %v, %v", got.Partitioner, err)
	}
}

func TestHeadersStatic(t *testing.T) {
	for _, test := range []struct {
		file    string
		environ []string
		want    map[string]string
	}{
		{"", nil, map[string]string{}},
		{"outbox: {headers_static: {}}\n", nil, map[string]string{}},
		{"outbox:\n  headers_static:\n", nil, map[string]string{}},
		{"outbox:\n  headers_static:\n    tenant: eu\n", nil, map[string]string{"tenant": "eu"}},
		{"outbox:\n  headers_static: # of every record\n    tenant: eu # of all\n\n    \"a key\": \"x, y=z\"\n    zone: 007\n    on: yes\n    empty: \"\"\n    Table: t\n    kafka.linger.ms: 5\n", nil,
			map[string]string{"tenant": "eu", "a key": "x, y=z", "zone": "007", "on": "yes", "empty": "", "Table": "t", "kafka.linger.ms": "5"}},
		{"", []string{"WALPOST_OUTBOX_HEADERS_STATIC=tenant=eu"}, map[string]string{"tenant": "eu"}},
		{"", []string{"WALPOST_OUTBOX_HEADERS_STATIC= tenant = eu de , url=a?b=c,empty="}, map[string]string{"tenant": "eu de", "url": "a?b=c", "empty": ""}},
		{"outbox: {headers_static: {tenant: eu, zone: a}}\n", []string{"WALPOST_OUTBOX_HEADERS_STATIC=tenant=us"}, map[string]string{"tenant": "us"}}, // the two are not merged
		{"outbox: {headers_static: {tenant: eu}}\n", []string{"WALPOST_OUTBOX_HEADERS_STATIC="}, map[string]string{"tenant": "eu"}},
		{"outbox: {headers_static: {tenant: eu}}\n", []string{"WALPOST_OUTBOX_HEADERS_STATIC= "}, map[string]string{}},
		{"outbox: {profile: debezium, headers_static: {content-type: application/avro}}\n", nil, map[string]string{"content-type": "application/avro"}},
	} {
		write(t, test.file)
		c, err := Load(Sources{Environ: test.environ})
		check(t, err, "")
		got, err := c.Sink()
		if err != nil || !reflect.DeepEqual(got.Record.Static, test.want) {
			t.Errorf("%s%s: %q, %v, want %q", test.file, test.environ, got.Record.Static, err, test.want)
		}
		// The printed configuration can be read again and is the same.
		var out bytes.Buffer
		if err := c.Print(&out); err != nil {
			t.Fatal(err)
		}
		write(t, out.String())
		again, err := Load(Sources{})
		check(t, err, "")
		if !reflect.DeepEqual(again.Outbox.HeadersStatic, c.Outbox.HeadersStatic) {
			t.Errorf("%s%s: printed and read again %q\n%s", test.file, test.environ, again.Outbox.HeadersStatic, &out)
		}
	}
}

func TestRequestTimeout(t *testing.T) {
	write(t, "")
	for _, test := range []struct {
		environ []string
		want    time.Duration
	}{{nil, 30 * time.Second}, {[]string{"WALPOST_KAFKA_REQUEST_TIMEOUT_MS=1000"}, time.Second}} {
		c, err := Load(Sources{Environ: test.environ})
		check(t, err, "")
		if got, err := c.Sink(); err != nil || got.RequestTimeout != test.want {
			t.Errorf("%v: %s, %v, want %s", test.environ, got.RequestTimeout, err, test.want)
		}
	}
}

func TestProfile(t *testing.T) {
	write(t, "")
	for _, test := range []struct {
		environ  []string
		profile  record.Profile
		position bool
	}{
		{nil, record.CloudEvents, true},
		{[]string{"WALPOST_OUTBOX_PROFILE=debezium"}, record.Debezium, true},
		{[]string{"WALPOST_OUTBOX_PROFILE=debezium", "WALPOST_OUTBOX_POSITION_HEADER=false"}, record.Debezium, false},
	} {
		c, err := Load(Sources{Environ: test.environ})
		check(t, err, "")
		got, err := c.Sink()
		if err != nil || got.Record.Profile != test.profile || got.Record.PositionHeader != test.position {
			t.Errorf("%v: profile %v, position header %t, %v", test.environ, got.Record.Profile, got.Record.PositionHeader, err)
		}
	}
}

// The source of events is made from the database and the table, unless the configuration names another one.
func TestSource(t *testing.T) {
	write(t, "")
	for _, test := range []struct {
		environ []string
		want    string
	}{
		{[]string{"WALPOST_POSTGRES_URL=postgres://me@db/shop"}, "/walpost/shop/walpost.outbox"},
		{[]string{"WALPOST_POSTGRES_URL=postgres://me@db/shop", "WALPOST_OUTBOX_SOURCE=https://shop.example/orders"}, "https://shop.example/orders"},
		{[]string{"WALPOST_OUTBOX_SOURCE=urn:shop"}, "urn:shop"},
	} {
		c, err := Load(Sources{Environ: test.environ})
		check(t, err, "")
		if got, err := c.Sink(); err != nil || got.Record.Source != test.want {
			t.Errorf("%q: source %q, %v", test.environ, got.Record.Source, err)
		}
	}
	for _, source := range []string{"my shop", "shop\t", "läden", "http://[::1", "%zz"} {
		_, err := Load(Sources{Environ: []string{"WALPOST_OUTBOX_SOURCE=" + source}})
		if err == nil || !strings.HasPrefix(err.Error(), "WALPOST_OUTBOX_SOURCE: outbox.source: ") || !strings.Contains(err.Error(), "is not a URI reference") {
			t.Errorf("%q: %v", source, err)
		}
	}
}

func TestPrint(t *testing.T) {
	write(t, `
postgres: {url: "postgres://me:canary@db/shop"}
outbox:
  topic: "{aggregatetype}"
  headers_static: {tenant: eu, "a key": "1"}
kafka:
  security.protocol: SASL_PLAINTEXT
  sasl.mechanism: PLAIN
  sasl.username: "with \"quotes\" and \\ and\ttab"
  sasl.password: canary
`)
	c, err := Load(Sources{Environ: []string{"WALPOST_OUTBOX_COLUMNS_HEADERS="}, Flags: []Flag{{"--slot", "postgres.slot", "orders"}}})
	check(t, err, "")
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join(goldenDir, "print.yaml")
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("got\n%s\nwant %s:\n%s", &out, golden, want)
	}
	// The output is YAML with the right values.
	var tree map[string]map[string]any
	if err := yaml.Unmarshal(out.Bytes(), &tree); err != nil {
		t.Fatal(err)
	}
	if got := tree["kafka"]["sasl.username"]; got != "with \"quotes\" and \\ and\ttab" {
		t.Errorf("the name came back as %q", got)
	}
}

// goldenDir is an absolute path, so it is right in any current folder.
var goldenDir = func() string {
	dir, err := filepath.Abs("testdata")
	if err != nil {
		panic(err)
	}
	return dir
}()
