package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// The keys that may change while the program runs have the tag live in [Config]: the log level, the logins, and the certificates of TLS.

// Renew returns the configuration with the secrets in files of their own read again. A secret that cannot be used keeps its old value,
// because its file may be being written at this moment. The error says why, without showing any part of the secret.
func (c *Config) Renew() (*Config, error) {
	if len(c.files) == 0 {
		return c, nil
	}
	next := *c
	var errs []error
	for i := range keys {
		k := &keys[i]
		name, ok := c.files[k.path]
		if !ok {
			continue
		}
		text, err := setting{key: k, text: name, file: true}.value()
		if err == nil && text == "" && c.secret(k) != "" {
			err = errors.New("its file is empty")
		}
		if err == nil && k.path == "postgres.url" {
			err = c.sameDatabase(Secret(text))
		}
		if err != nil {
			errs = append(errs, c.problem(k.path, err))
			continue
		}
		reflect.ValueOf(&next).Elem().FieldByIndex(k.field).SetString(text)
	}
	return &next, errors.Join(errs...)
}

// Adopt returns the configuration with those values of a fresh one that a running program can take over. taken and left are the keys that
// differ: taken are those that were taken over, left those that need a restart.
//
// The keys of the login to Kafka belong together. If one of them needs a restart, a new password would not fit the old settings, so Adopt
// leaves all of them.
func (c *Config) Adopt(fresh *Config) (next *Config, taken, left []string) {
	copied := *c
	next = &copied
	next.origins, next.files = maps.Clone(c.origins), maps.Clone(c.files)
	next.warnings = fresh.warnings
	login := true
	for _, path := range []string{"kafka.security.protocol", "kafka.sasl.mechanism", "kafka.sasl.oauthbearer.token.endpoint.url"} {
		login = login && !c.differs(byPath[path], fresh)
	}
	for i := range keys {
		k := &keys[i]
		switch {
		case !c.differs(k, fresh):
			continue
		case !k.live, sectionOf(k.path) == "kafka" && !login, k.path == "postgres.url" && c.sameDatabase(fresh.Postgres.URL) != nil:
			left = append(left, k.path)
			continue
		}
		taken = append(taken, k.path)
		reflect.ValueOf(next).Elem().FieldByIndex(k.field).Set(reflect.ValueOf(fresh).Elem().FieldByIndex(k.field))
		move(next.origins, fresh.origins, k.path)
		move(next.files, fresh.files, k.path)
	}
	return next, taken, left
}

// differs reports whether a key has a different value, or a different file that holds the value.
func (c *Config) differs(k *key, other *Config) bool {
	value := func(c *Config) any { return reflect.ValueOf(c).Elem().FieldByIndex(k.field).Interface() }
	return !reflect.DeepEqual(value(c), value(other)) || c.files[k.path] != other.files[k.path]
}

// move copies the key from one map to the other. If from does not have the key, move deletes it from to.
func move(to, from map[string]string, key string) {
	if value, ok := from[key]; ok {
		to[key] = value
	} else {
		delete(to, key)
	}
}

func (c *Config) secret(k *key) string {
	return reflect.ValueOf(c).Elem().FieldByIndex(k.field).String()
}

// sameDatabase returns an error if another connection string cannot be used in place of this one. Only user, password and TLS may differ,
// because the slot and the stream belong to the database.
func (c *Config) sameDatabase(url Secret) error {
	if err := checkConnString(string(url)); err != nil {
		return err
	}
	now, err := pgconn.ParseConfig(string(c.Postgres.URL))
	if err != nil {
		return nil // the present one is broken, so there is nothing to compare with
	}
	then, err := pgconn.ParseConfig(string(url))
	if err != nil {
		return explainConnString(err)
	}
	if !reflect.DeepEqual(places(now), places(then)) || !maps.Equal(now.RuntimeParams, then.RuntimeParams) {
		return errors.New("differs in more than user, password and TLS, which needs a restart")
	}
	return nil
}

// places lists the database and the servers that a connection string names.
func places(c *pgconn.Config) []string {
	database := c.Database
	if database == "" {
		database = c.User // the server's default
	}
	list := []string{database, fmt.Sprintf("%s:%d", c.Host, c.Port)}
	for _, f := range c.Fallbacks {
		list = append(list, fmt.Sprintf("%s:%d", f.Host, f.Port))
	}
	return slices.Compact(list) // a server that is tried with and without TLS is listed twice
}
