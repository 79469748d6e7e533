package config

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// warned fails unless these are the warnings, each given by a part of its text.
func warned(t *testing.T, c *Config, want ...string) {
	t.Helper()
	got := c.Warnings()
	if len(got) != len(want) {
		t.Errorf("warnings\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		return
	}
	for i := range got {
		if !strings.Contains(got[i], want[i]) || strings.Contains(got[i], canary) {
			t.Errorf("warning\n%s\nwant\n%s", got[i], want[i])
		}
	}
}

// TestFilesThatOthersRead: other users of the machine should not be able to read a file with a secret. The file's group may.
func TestFilesThatOthersRead(t *testing.T) {
	const login = "kafka: {security.protocol: SASL_SSL, sasl.mechanism: PLAIN, sasl.username: me, "
	for _, test := range []struct {
		name, file string
		environ    []string
		open       []string // files that others may read
		want       []string
	}{
		{name: "nothing secret", file: "relay: {}\n", open: []string{"walpost.yaml", "other"}},
		{name: "the configuration", file: login + "sasl.password: canary}\n", open: []string{"walpost.yaml"},
			want: []string{"walpost.yaml:1:95: kafka.sasl.password: others on this machine may read walpost.yaml (mode 0644); run: chmod o-rwx walpost.yaml"}},
		{name: "the configuration, closed", file: login + "sasl.password: canary}\n"},
		{name: "a secret's file", file: login + "sasl.password_file: ./pw}\n", open: []string{"walpost.yaml", "pw"},
			want: []string{"kafka.sasl.password: others on this machine may read ./pw (mode 0644)"}},
		{name: "a secret's file, closed", file: login + "sasl.password_file: ./pw}\n", open: []string{"walpost.yaml"}},
		{name: "a URL with a password", file: "postgres: {url: 'postgres://me:canary@db/shop'}\n", open: []string{"walpost.yaml"},
			want: []string{"walpost.yaml:1:17: postgres.url: others on this machine may read walpost.yaml"}},
		{name: "a URL without", file: "postgres: {url: 'postgres://me@db/shop'}\n", open: []string{"walpost.yaml"}},
		{name: "a private key", file: "kafka: {security.protocol: SSL, ssl.certificate.location: ./cert, ssl.key.location: ./pw}\n", open: []string{"pw"},
			want: []string{"kafka.ssl.key.location: others on this machine may read ./pw"}},
		{name: "libpq's password file", environ: []string{"PGPASSFILE=./pw"}, open: []string{"pw"}, want: []string{"PGPASSFILE: others on this machine may read ./pw"}},
		{name: "libpq's password file, named in the URL", environ: []string{"DATABASE_URL=host=db passfile=./pw"}, open: []string{"pw"}, want: []string{"passfile: others on this machine may read ./pw"}},
		{name: "libpq's password file, by parameter", environ: []string{"DATABASE_URL=postgres://db/shop?passfile=./pw"}, open: []string{"pw"}, want: []string{"passfile: others on this machine may read ./pw"}},
		{name: "libpq's password file, at home", environ: []string{"HOME=."}, open: []string{".pgpass"}, want: []string{"~/.pgpass: others on this machine may read .pgpass"}},
		{name: "libpq's password file, at home, closed", environ: []string{"HOME=."}},
	} {
		t.Run(test.name, func(t *testing.T) {
			write(t, test.file)
			for _, name := range []string{"pw", "other", "cert", ".pgpass"} {
				if err := os.WriteFile(name, []byte(canary), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range test.open {
				if err := os.Chmod(name, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			c, err := Load(Sources{Environ: test.environ})
			if err != nil && !strings.Contains(err.Error(), "ssl.") { // the file is not a real key
				t.Fatal(err)
			}
			warned(t, c, test.want...)
		})
	}
}

// TestSecretsOnTheCommandLine: everybody on the machine can see the command lines of all processes.
func TestSecretsOnTheCommandLine(t *testing.T) {
	write(t, "kafka: {security.protocol: SASL_SSL, sasl.mechanism: PLAIN, sasl.username: me}\n")
	_, err := Load(Sources{Flags: []Flag{{"-X sasl.password", "kafka.sasl.password", canary}}})
	check(t, err, "-X sasl.password: everybody on this machine sees it in the process list; set WALPOST_KAFKA_SASL_PASSWORD, or name a file that holds it with -X sasl.password_file=FILE")
	if err := os.WriteFile("pw", []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Sources{Flags: []Flag{{"-X sasl.password_file", "kafka.sasl.password_file", "./pw"}}})
	check(t, err, "")
	warned(t, c)
	const says = "--postgres-url: everybody on this machine sees the password in the process list"
	for _, url := range []string{"postgres://me:canary@db/shop", "host=db user=me password=canary", "postgres://db/shop?password=canary"} {
		c, err := Load(Sources{Flags: []Flag{{"--postgres-url", "postgres.url", url}, {"-X sasl.password_file", "kafka.sasl.password_file", "./pw"}}})
		check(t, err, "")
		warned(t, c, says)
	}
	c, err = Load(Sources{Environ: []string{"PGPASSWORD=canary"}, Flags: []Flag{{"--postgres-url", "postgres.url", "postgres://me@db/shop"}, {"-X sasl.password_file", "kafka.sasl.password_file", "./pw"}}})
	check(t, err, "")
	if slices.ContainsFunc(c.Warnings(), func(w string) bool { return strings.Contains(w, says) }) {
		t.Error("a password that is not in the URL counts as in it")
	}
}

// TestKeysOfALaterVersion: a file that was written for a later version is accepted with one warning. The values that apply, and that are
// printed, are those that this version supports.
func TestKeysOfALaterVersion(t *testing.T) {
	const readBack = "relay.read_back has no effect"
	for _, test := range []struct {
		file    string
		environ []string
		want    []string // parts of the only warning
	}{
		{},
		{file: "outbox: {on_bad_event: halt}\nrelay: {read_back: false}\n"},
		{file: "relay: {read_back: true}\n", want: []string{"walpost.yaml:1:20: " + readBack}},
		{environ: []string{"WALPOST_RELAY_READ_BACK=true"}, want: []string{"WALPOST_RELAY_READ_BACK: " + readBack}},
	} {
		write(t, test.file)
		c, err := Load(Sources{Environ: test.environ})
		check(t, err, "")
		if warned(t, c, test.want[:min(1, len(test.want))]...); len(test.want) > 1 && !strings.Contains(c.Warnings()[0], test.want[1]) {
			t.Errorf("no %s in %s", test.want[1], c.Warnings()[0])
		}
		var out strings.Builder
		if err := c.Print(&out); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); strings.Contains(text, "read_back") {
			t.Errorf("%s%q: printed as in force:\n%s", test.file, test.environ, text)
		}
	}
}

// TestDatabaseURLOutranksPGVariables: if two sources name different databases, there is a warning, because one of them is a mistake.
func TestDatabaseURLOutranksPGVariables(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want []string
	}{
		{map[string]string{"DATABASE_URL": "postgres://me:canary@platform:1/db", "PGHOST": "mine", "PGDATABASE": "other", "PGUSER": "me", "PGPORT": "1"},
			[]string{"DATABASE_URL overrides PGHOST, PGDATABASE, which name something else; unset it, or set WALPOST_POSTGRES_URL"}},
		{map[string]string{"DATABASE_URL": "postgres://me@platform/db", "PGHOST": "platform", "PGUSER": "me", "PGPORT": "5432"}, nil},
		{map[string]string{"DATABASE_URL": "postgres:///db", "PGHOST": "mine", "PGUSER": "me"}, nil}, // the variables set what the URL does not
		{map[string]string{"PGHOST": "mine"}, nil},
		{map[string]string{"DATABASE_URL": "postgres://platform/db", "WALPOST_POSTGRES_URL": "postgres://ours/db", "PGHOST": "mine"}, nil},
	} {
		write(t, "")
		var environ []string
		for name, value := range test.env {
			t.Setenv(name, value)
			environ = append(environ, name+"="+value)
		}
		c, err := Load(Sources{Environ: environ})
		check(t, err, "")
		warned(t, c, test.want...)
	}
}

// TestUnknownVariables: a variable that resembles one of ours is an error, because it was meant for walpost and has no effect. Any other
// belongs to another program, even if it begins with the name of a section.
func TestUnknownVariables(t *testing.T) {
	meant := map[string]string{
		"WALPOST_OUTBOX_TABEL": "WALPOST_OUTBOX_TABLE", "WALPOST_SLOT": "WALPOST_POSTGRES_SLOT", "WALPOST_POSTGRES_URL_FILES": "WALPOST_POSTGRES_URL_FILE",
		"WALPOST_LOG_LEVL": "WALPOST_LOG_LEVEL", "WALPOST_LOGLEVEL": "WALPOST_LOG_LEVEL", "WALPOST_LINGER_MS": "WALPOST_KAFKA_LINGER_MS",
		"WALPOST_KAFKA_BOOTSTRAP": "WALPOST_KAFKA_BOOTSTRAP_SERVERS", "WALPOST_KAFKA_BOOTSTRAP_BROKERS": "WALPOST_KAFKA_BOOTSTRAP_SERVERS",
		"WALPOST_POSTGRESQL_URL": "WALPOST_POSTGRES_URL", "WALPOST_POSTGRES_URI": "WALPOST_POSTGRES_URL", "WALPOST_COLUMNS_ID": "WALPOST_OUTBOX_COLUMNS_ID",
		"WALPOST_SASL_PASSWORD_FILE": "WALPOST_KAFKA_SASL_PASSWORD_FILE",
		"WALPOST_POSTGRES_SLOT_NAME": "WALPOST_POSTGRES_SLOT", "WALPOST_KAFKA_CLIENT_ID_FILE": "WALPOST_KAFKA_CLIENT_ID", // client.id is not a secret
		"WALPOST_kafka_client_id": "WALPOST_KAFKA_CLIENT_ID", "WALPOST_kafka.bootstrap.servers": "WALPOST_KAFKA_BOOTSTRAP_SERVERS",
		"WALPOST_MAX.IN.FLIGHT.BYTES": "WALPOST_RELAY_MAX_IN_FLIGHT_BYTES", "WALPOST_BOOTSTRAP-SERVERS": "WALPOST_KAFKA_BOOTSTRAP_SERVERS",
	}
	for name, meant := range meant {
		write(t, "")
		_, err := Load(Sources{Environ: []string{name + "=canary"}})
		check(t, err, "environment: unknown variable "+name+"; did you mean "+meant+"?")
	}
	for _, name := range strings.Fields(`
		WALPOST_IMAGE_TAG WALPOST_VERSION WALPOST_REPLICAS WALPOST_HELM_RELEASE WALPOST_DEPLOYED_AT WALPOST_GIT_SHA WALPOST_CONFIG WALPOST_PASSWORD WALPOST_ID
		WALPOST_KAFKA_IMAGE WALPOST_KAFKA_VERSION WALPOST_KAFKA_BROKER_LIST_OF_OURS WALPOST_POSTGRES_IMAGE WALPOST_POSTGRES_CONNECTION_POOL
		WALPOST_POSTGRES_HOST WALPOST_POSTGRES_USER WALPOST_POSTGRES_DB WALPOST_POSTGRES_SSL WALPOST_POSTGRESQL_USER WALPOST_RELAY_IMAGE_TAG WALPOST_RELAY_NAME
		WALPOST_LOG_DIR WALPOST_LOG_FILE WALPOST_ADMIN_USER WALPOST_ADMIN_URL WALPOST_OUTBOX_OWNER
		WALPOST_POSTGRES WALPOST_KAFKA WALPOST_RELAY WALPOST_ADMIN WALPOST_OUTBOX_COLUMNS`) {
		write(t, "")
		c, err := Load(Sources{Environ: []string{name + "=canary"}})
		check(t, err, "")
		warned(t, c, "environment: ignoring "+name+", which is not one of walpost's variables")
	}
}

// TestEveryVariableMisspelt: one letter is missing, one is added, or two are swapped, at any place.
func TestEveryVariableMisspelt(t *testing.T) {
	for i := range keys {
		name := strings.TrimPrefix(keys[i].env, envPrefix)
		for j := range len(name) - 1 {
			for _, wrong := range []string{name[:j] + name[j+1:], name[:j+1] + name[j:], name[:j] + name[j+1:j+2] + name[j:j+1] + name[j+2:]} {
				if near := nearestVariable(envPrefix + wrong); near != keys[i].env {
					t.Errorf("%s: %q, want %s", wrong, near, keys[i].env)
				}
			}
		}
	}
}
