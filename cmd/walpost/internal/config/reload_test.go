package config

import (
	"os"
	"strings"
	"testing"
)

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A secret in a file of its own is read again. If the new one cannot be used, the old one stays, and no error shows the new one.
func TestRenew(t *testing.T) {
	write(t, "postgres: {url_file: url}\nkafka: {security.protocol: SASL_SSL, sasl.mechanism: PLAIN, sasl.username: me, sasl.password_file: password}\n")
	const at = "postgres://me:canary1@a:1/shop"
	put(t, "url", at+"\n")
	put(t, "password", "canary1\n")
	c, err := Load(Sources{})
	check(t, err, "")
	for _, test := range []struct {
		name          string
		url, password string
		want          [2]string
		says          string
	}{
		{"nothing new", at, "canary1", [2]string{at, "canary1"}, ""},
		{"a password", "postgres://me:canary2@a:1/shop", "canary1", [2]string{"postgres://me:canary2@a:1/shop", "canary1"}, ""},
		{"both", "postgres://other:canary3@a:1/shop?sslmode=disable", "canary3", [2]string{"postgres://other:canary3@a:1/shop?sslmode=disable", "canary3"}, ""},
		{"empty", "", "", [2]string{at, "canary1"}, `
walpost.yaml:1:22: postgres.url: its file is empty
walpost.yaml:2:100: kafka.sasl.password: its file is empty`},
		{"half of one", "postgres://me:canary@a:", "canary2", [2]string{at, "canary2"}, `
walpost.yaml:1:22: postgres.url: differs in more than user, password and TLS, which needs a restart`},
		{"none", "postgres://me:canary@a:port/shop", "canary2", [2]string{at, "canary2"}, `
walpost.yaml:1:22: postgres.url: is not a connection string: invalid port; write postgres://user:password@host:5432/database, with special characters of the password percent-encoded (/ is %2F, @ is %40), or host=… user=… dbname=…`},
		{"another database", "postgres://me:canary@a:1/stock", "canary2", [2]string{at, "canary2"}, `
walpost.yaml:1:22: postgres.url: differs in more than user, password and TLS, which needs a restart`},
		{"another server", "postgres://me:canary@b:1/shop", "canary2", [2]string{at, "canary2"}, `
walpost.yaml:1:22: postgres.url: differs in more than user, password and TLS, which needs a restart`},
	} {
		put(t, "url", test.url)
		put(t, "password", test.password)
		next, err := c.Renew()
		t.Log(test.name)
		check(t, err, test.says)
		if got := [2]string{string(next.Postgres.URL), string(next.Kafka.SASLPassword)}; got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	if c.Kafka.SASLPassword != "canary1" {
		t.Error("the old configuration has changed, too")
	}
	if err := os.Remove("password"); err != nil {
		t.Fatal(err)
	}
	if next, err := c.Renew(); err == nil || next.Kafka.SASLPassword != "canary1" {
		t.Errorf("without a file: %v", err)
	}
}

func TestAdopt(t *testing.T) {
	const before = "postgres: {url: 'postgres://me:canary@a:1/shop'}\n" +
		"kafka: {security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: me, sasl.password: canary}\nrelay: {shutdown_timeout: 3s}\n"
	for _, test := range []struct {
		name        string
		from, to    string
		more        string
		taken, left string
	}{
		{name: "nothing"},
		{name: "a comment", more: "# hello\n"},
		{name: "level", more: "log: {level: debug}\n", taken: "log.level"},
		{name: "Postgres's password", from: "me:canary@", to: "me:canary2@", taken: "postgres.url"},
		{name: "Postgres's user", from: "me:canary@", to: "other:canary2@", taken: "postgres.url"},
		{name: "database", from: "a:1/shop", to: "a:1/stock", left: "postgres.url"},
		{name: "server", from: "a:1/shop", to: "b:1/shop", left: "postgres.url"},
		{name: "one server more", from: "a:1/shop", to: "a:1,b:1/shop", left: "postgres.url"},
		{name: "parameter", from: "a:1/shop", to: "a:1/shop?search_path=x", left: "postgres.url"},
		{name: "Kafka's password", from: "sasl.password: canary", to: "sasl.password: canary2", taken: "kafka.sasl.password"},
		{name: "user and password", from: "sasl.username: me, sasl.password: canary", to: "sasl.username: you, sasl.password: canary2",
			taken: "kafka.sasl.username kafka.sasl.password"},
		{name: "another way to log in", from: "sasl.mechanism: PLAIN, sasl.username: me, sasl.password: canary",
			to: "sasl.mechanism: SCRAM-SHA-256, sasl.username: you, sasl.password: canary2", left: "kafka.sasl.mechanism kafka.sasl.username kafka.sasl.password"},
		{name: "a static header", more: "outbox: {headers_static: {a: b}}\n", left: "outbox.headers_static"},
		{name: "some of all", from: "shutdown_timeout: 3s", to: "shutdown_timeout: 4s", more: "log: {level: warn}\nadmin: {actions: false, listen: ''}\n",
			taken: "log.level", left: "relay.shutdown_timeout admin.listen"},
	} {
		t.Run(test.name, func(t *testing.T) {
			write(t, before)
			c, err := Load(Sources{})
			check(t, err, "")
			put(t, "walpost.yaml", strings.Replace(before, test.from, test.to, 1)+test.more)
			fresh, err := Load(Sources{})
			check(t, err, "")
			next, taken, left := c.Adopt(fresh)
			if got := strings.Join(taken, " "); got != test.taken {
				t.Errorf("taken: %q, want %q", got, test.taken)
			}
			if got := strings.Join(left, " "); got != test.left {
				t.Errorf("left: %q, want %q", got, test.left)
			}
			for i := range keys {
				k, of := &keys[i], c
				for _, path := range taken {
					if path == k.path {
						of = fresh
					}
				}
				if next.differs(k, of) {
					t.Errorf("%s: %s", k.path, next.raw(k))
				}
			}
		})
	}
}

// If a password moves into a file, it is taken over, and read from that file from then on.
func TestAdoptFile(t *testing.T) {
	write(t, "postgres: {url: 'postgres://me:canary@a:1/shop'}\n")
	c, err := Load(Sources{})
	check(t, err, "")
	put(t, "url", "postgres://me:canary@a:1/shop")
	put(t, "walpost.yaml", "postgres: {url_file: url}\n")
	fresh, err := Load(Sources{})
	check(t, err, "")
	next, taken, _ := c.Adopt(fresh)
	if len(taken) != 1 {
		t.Errorf("taken: %v", taken)
	}
	put(t, "url", "postgres://me:canary2@a:1/shop")
	next, err = next.Renew()
	check(t, err, "")
	if next.Postgres.URL != "postgres://me:canary2@a:1/shop" {
		t.Errorf("the file is not read: %q", string(next.Postgres.URL))
	}
}
