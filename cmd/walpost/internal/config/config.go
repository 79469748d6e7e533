// Package config holds walpost's configuration: its keys, where their values come from, and the checks of these values.
//
// [Load] reads a YAML file, the environment and flags, and checks the result. Flags override the environment, and that overrides the file.
// Load reports all problems at once, each with the place where the value was set. It never shows a secret, nor a line of the file that
// contains one.
//
// In a running program, [Config.Renew] reads the secrets in files again, and [Config.Adopt] takes over the keys that may change without a
// restart. The caller decides when to call them, and what to do if a configuration is wrong.
package config

import (
	"time"

	"walpost/relay/postgres"
	"walpost/schema"
	"walpost/sink"
)

// Config is the whole configuration. The key of a field is its path in the file, with dots between the levels. The field's environment
// variable is WALPOST_ and the key in capitals, with underscores for dots and minuses. An empty variable counts as not set, except for
// fields with the tag empty:"off". A running program takes over new values of fields with the tag live: see [Config.Adopt]. A value in the
// tag later is accepted with a warning, and acts as the value in the tag now.
type Config struct {
	Postgres Postgres `key:"postgres"`
	Outbox   Outbox   `key:"outbox"`
	Kafka    Kafka    `key:"kafka"`
	Relay    Relay    `key:"relay"`
	Admin    Admin    `key:"admin"`
	Log      Log      `key:"log"`

	origins map[string]string // where each key that is not at its default was set
	files   map[string]string // the file of each secret that is in a file of its own

	warnings []string
}

// Postgres is the database that walpost reads from.
type Postgres struct {
	// URL is a connection string as libpq takes it: a postgres:// URL, or keywords. If it is empty, walpost uses DATABASE_URL, or else the
	// PG* variables, service file and password file, as libpq does.
	URL Secret `key:"url" live:"yes"`
	// Slot is the replication slot. The first start creates it.
	Slot string `key:"slot"`
	// Publication is the publication that selects the rows of the stream.
	Publication string `key:"publication"`
	// Silence is how long the walsender may send nothing. After that, walpost checks it over another connection. It keeps the walsender
	// while that works, and otherwise disconnects from it within five seconds.
	Silence time.Duration `key:"silence"`
}

// Outbox is the table, and how its rows become records.
type Outbox struct {
	// Table is schema.table. SQL's rules for capitals and quotes apply.
	Table   string  `key:"table"`
	Columns Columns `key:"columns"`
	// Topic is the template for the topic of a row that does not name its topic itself. Any mapped column may be used in braces.
	Topic string `key:"topic"`
	// Profile is the set of record headers: cloudevents, or debezium.
	Profile string `key:"profile"`
	// Backfill is what walpost does with rows that are in the table at the first start: publish, or skip.
	Backfill string `key:"backfill"`
	// Retention is what walpost does with confirmed rows: keep.
	Retention string `key:"retention"`
	// OnBadEvent is what walpost does with an event that Kafka can never accept: park it in walpost.dead_letters, with the later events of its
	// topic and key, or halt.
	OnBadEvent string `key:"on_bad_event"`
	// BlockedTopic is what walpost does with the events of a topic that takes no records while others do, because it is absent or a right is
	// missing: park them in walpost.dead_letters until it does, or wait. With on_bad_event: halt, they wait.
	BlockedTopic string `key:"blocked_topic"`
	// MaxParkedBytes limits the keys, values and headers of all parked events, in bytes. Beyond it, events that are to be parked wait, and
	// with them the relay.
	MaxParkedBytes Size `key:"max_parked_bytes"`
	// Source is ce_source, a URI reference; empty: /walpost/<database>/<schema>.<table>.
	Source string `key:"source"`
	// HeadersStatic are headers that every record gets. A header of the same name in the row's headers column overrides them.
	HeadersStatic Headers `key:"headers_static"`
	// PositionHeader adds the header walpost_position to records of profile debezium. It has no effect in other profiles, which have the
	// position in ce_sequence.
	PositionHeader bool `key:"position_header"`
}

// Columns name the table's columns, one for each part of an event; "" means that there is none. The first five are required. The columns of
// Headers and CreatedAt may be absent from the table, but only if the name is the default and nobody has set it.
type Columns struct {
	ID            string `key:"id"`
	AggregateType string `key:"aggregatetype"`
	AggregateID   string `key:"aggregateid"`
	Type          string `key:"type"`
	Payload       string `key:"payload"`
	Headers       string `key:"headers" empty:"off"`
	CreatedAt     string `key:"created_at" empty:"off"`
	Timestamp     string `key:"timestamp"`
	Topic         string `key:"topic"`
	Partition     string `key:"partition"`
}

// Kafka has Kafka's own properties, under the names that Kafka's clients use.
type Kafka struct {
	// BootstrapServers is a list of host:port, separated by commas.
	BootstrapServers string `key:"bootstrap.servers"`
	ClientID         string `key:"client.id"`
	// CompressionType is none, gzip, snappy, lz4 or zstd. zstd compresses at level 1.
	CompressionType string `key:"compression.type"`
	// LingerMS is how long, in milliseconds, a broker's events are collected before they are sent.
	LingerMS int `key:"linger.ms"`
	// MaxRequestSize limits a request as sent, and an uncompressed batch, in bytes. A larger event is sent alone.
	MaxRequestSize Size `key:"max.request.size"`
	// RequestTimeoutMS is how long, in milliseconds, a leader may wait for its followers. walpost waits up to 5 s longer for the answer.
	RequestTimeoutMS int `key:"request.timeout.ms"`
	// SecurityProtocol is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
	SecurityProtocol string `key:"security.protocol"`
	// SASLMechanism is PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.
	SASLMechanism    string `key:"sasl.mechanism"`
	SASLUsername     string `key:"sasl.username" live:"yes"`
	SASLPassword     Secret `key:"sasl.password" live:"yes"`
	SASLTokenURL     string `key:"sasl.oauthbearer.token.endpoint.url"`
	SASLClientID     string `key:"sasl.oauthbearer.client.id" live:"yes"`
	SASLClientSecret Secret `key:"sasl.oauthbearer.client.secret" live:"yes"`
	// SASLScope is the scope to request from the token's issuer, with spaces between several scopes.
	SASLScope string `key:"sasl.oauthbearer.scope" live:"yes"`
	// SSLCALocation is a PEM file with the certificate authorities to trust; empty: those of the system.
	SSLCALocation          string `key:"ssl.ca.location" live:"yes"`
	SSLCertificateLocation string `key:"ssl.certificate.location" live:"yes"`
	SSLKeyLocation         string `key:"ssl.key.location" live:"yes"`
	SSLKeyPassword         Secret `key:"ssl.key.password" live:"yes"`
	// Partitioner is murmur2 (as in Java's clients), crc32 (as in librdkafka) or fnv1a (as in sarama).
	Partitioner string `key:"partitioner"`
	// AllowAutoCreateTopics lets brokers create a missing topic, if auto.create.topics.enable is on there.
	AllowAutoCreateTopics bool `key:"allow.auto.create.topics"`
}

// Relay has the limits of the relay.
type Relay struct {
	// MaxInFlightBytes limits the events in flight, in bytes of their records. The relay stops reading at that limit.
	MaxInFlightBytes Size `key:"max_in_flight_bytes"`
	// ShutdownTimeout is how long a clean stop waits for the events in flight.
	ShutdownTimeout time.Duration `key:"shutdown_timeout"`
	// ReadBack asks for restarts without duplicates. That is for a later version: in this one, a restart may send again what was not yet
	// confirmed.
	ReadBack bool `key:"read_back" later:"true"`
}

// Admin is the HTTP server for health and metrics.
type Admin struct {
	// Listen is host:port; empty: no server.
	Listen string `key:"listen" empty:"off"`
	// WebConfig is a configuration file of the Prometheus exporter toolkit, for TLS and basic authentication. Only its TLS applies to
	// /livez and /readyz.
	WebConfig string `key:"web_config"`
	// Actions over HTTP are for a later version.
	Actions bool `key:"actions"`
}

// Log configures the log.
type Log struct {
	// Level is debug, info, warn or error. Lines below that level are not logged.
	Level string `key:"level" live:"yes"`
}

// Default returns the configuration with all defaults. There is no other place for defaults.
func Default() *Config {
	names := schema.DefaultMapping().Names
	return &Config{
		Postgres: Postgres{Slot: "walpost", Publication: "walpost", Silence: postgres.DefaultSilence},
		Outbox: Outbox{
			Table: schema.DefaultTable.String(),
			Columns: Columns{
				ID: names[schema.ID], AggregateType: names[schema.AggregateType], AggregateID: names[schema.AggregateID],
				Type: names[schema.Type], Payload: names[schema.Payload], Headers: names[schema.Headers], CreatedAt: names[schema.CreatedAt],
			},
			Topic:          "outbox.event.{aggregatetype}",
			Profile:        "cloudevents",
			Backfill:       "publish",
			Retention:      "keep",
			OnBadEvent:     "park",
			BlockedTopic:   "park",
			MaxParkedBytes: 1 << 30,
			HeadersStatic:  Headers{},
			PositionHeader: true,
		},
		Kafka: Kafka{
			BootstrapServers: "localhost:9092",
			ClientID:         "walpost",
			CompressionType:  "zstd",
			MaxRequestSize:   1_000_000,
			RequestTimeoutMS: int(sink.DefaultRequestTimeout / time.Millisecond),
			SecurityProtocol: "PLAINTEXT",
			Partitioner:      "murmur2",
		},
		Relay:   Relay{MaxInFlightBytes: 32 << 20, ShutdownTimeout: 10 * time.Second},
		Admin:   Admin{Listen: "127.0.0.1:8488"},
		Log:     Log{Level: "info"},
		origins: map[string]string{},
		files:   map[string]string{},
	}
}
