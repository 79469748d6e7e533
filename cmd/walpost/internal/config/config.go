// Package config holds walpost's configuration: what there is to set, where it comes from and what is wrong with it.
//
// [Load] takes a YAML file, the environment and flags, later ones winning over earlier ones, and checks the outcome. It reports
// everything that is wrong at once, each with the place where it was written, and never shows a secret, nor the line that one stands in.
//
// Of a running program [Config.Renew] reads the secrets in files again, and [Config.Adopt] takes over what may change without a restart.
// When to do either, and what to do with a configuration that is wrong, is for the caller to decide.
package config

import (
	"time"

	"walpost/relay/postgres"
	"walpost/schema"
	"walpost/sink"
)

// Config is the whole configuration. The key of a field is its place in the file, with dots between the levels, and makes the name of its
// environment variable: WALPOST_ and the key in capitals, dots and minuses as underscores. An empty variable counts as not set, but for
// the fields whose tag says that empty is off. What is tagged as live a running program takes over: see [Config.Adopt]. A value that is tagged
// as later is taken with a warning, and means what is tagged as now.
type Config struct {
	Postgres Postgres `key:"postgres"`
	Outbox   Outbox   `key:"outbox"`
	Kafka    Kafka    `key:"kafka"`
	Relay    Relay    `key:"relay"`
	Admin    Admin    `key:"admin"`
	Log      Log      `key:"log"`

	origins map[string]string // of every key that is not at its default: where it was set
	files   map[string]string // of every secret that stands in a file of its own: that file

	warnings []string
}

// Postgres is the database that is read.
type Postgres struct {
	// URL is libpq's: a postgres:// address, or keywords. Empty: DATABASE_URL, else the PG* variables, service file and password file,
	// as libpq takes them.
	URL Secret `key:"url" live:"yes"`
	// Slot is the replication slot. The first start creates it.
	Slot string `key:"slot"`
	// Publication names the publication that the slot is read through.
	Publication string `key:"publication"`
	// Silence is how long the walsender may say nothing. Then it is looked at over another connection: kept while it works, else left
	// within five seconds.
	Silence time.Duration `key:"silence"`
}

// Outbox is the table and what its rows become.
type Outbox struct {
	// Table is schema.table, by SQL's rules for capitals and quotes.
	Table   string  `key:"table"`
	Columns Columns `key:"columns"`
	// Topic is the template that names the topic of a row that does not name one itself. Any mapped column may stand in braces.
	Topic string `key:"topic"`
	// Profile is the style of the record headers: cloudevents, or debezium.
	Profile string `key:"profile"`
	// Backfill is what happens to rows that are in the table at the first start: publish, or skip.
	Backfill string `key:"backfill"`
	// Retention is what happens to rows that are confirmed: keep.
	Retention string `key:"retention"`
	// OnBadEvent is what happens to an event that Kafka can never take: halt. park is for a later version.
	OnBadEvent string `key:"on_bad_event" later:"park" now:"halt"`
	// Source is ce_source, a URI reference; empty: /walpost/<database>/<schema>.<table>.
	Source string `key:"source"`
	// HeadersStatic are headers that every record gets, unless the row's headers column has one of the name.
	HeadersStatic Headers `key:"headers_static"`
	// PositionHeader gives records of profile debezium the header walpost_position. Other profiles have the position in ce_sequence, and
	// it changes nothing there.
	PositionHeader bool `key:"position_header"`
}

// Columns name the table's columns, one for each part of an event; "" is none. The first five must be there. Headers and CreatedAt may
// be absent from the table under their default names, unless somebody set the name.
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

// Kafka holds Kafka's own properties, under the names that Kafka's clients know.
type Kafka struct {
	// BootstrapServers are host:port, with commas between them.
	BootstrapServers string `key:"bootstrap.servers"`
	ClientID         string `key:"client.id"`
	// CompressionType is none, gzip, snappy, lz4 or zstd, the last at level 1.
	CompressionType string `key:"compression.type"`
	// LingerMS is how long, in milliseconds, a broker's events are collected before they are sent.
	LingerMS int `key:"linger.ms"`
	// MaxRequestSize is bytes of one request as sent, and of one batch, uncompressed. A larger event travels alone.
	MaxRequestSize Size `key:"max.request.size"`
	// RequestTimeoutMS is how long, in milliseconds, a leader may wait for its followers. The answer is waited for up to 5 s longer.
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
	// SASLScope is what to ask the token's issuer for, with spaces between scopes.
	SASLScope string `key:"sasl.oauthbearer.scope" live:"yes"`
	// SSLCALocation is a PEM file with the authorities to trust; empty: the system's.
	SSLCALocation          string `key:"ssl.ca.location" live:"yes"`
	SSLCertificateLocation string `key:"ssl.certificate.location" live:"yes"`
	SSLKeyLocation         string `key:"ssl.key.location" live:"yes"`
	SSLKeyPassword         Secret `key:"ssl.key.password" live:"yes"`
	// Partitioner is murmur2 (Java's clients), crc32 (librdkafka's) or fnv1a (sarama's).
	Partitioner string `key:"partitioner"`
	// AllowAutoCreateTopics lets brokers create a topic that is absent, where they do so at all.
	AllowAutoCreateTopics bool `key:"allow.auto.create.topics"`
}

// Relay bounds the relay.
type Relay struct {
	// MaxInFlightBytes is how much may be on its way to Kafka, in bytes of its records. The relay stops reading there.
	MaxInFlightBytes Size `key:"max_in_flight_bytes"`
	// ShutdownTimeout is how long a clean stop waits for what is on its way.
	ShutdownTimeout time.Duration `key:"shutdown_timeout"`
	// ReadBack asks for restarts without duplicates, which is for a later version: a restart may send again what was not yet confirmed.
	ReadBack bool `key:"read_back" later:"true"`
}

// Admin is the HTTP server for health and metrics.
type Admin struct {
	// Listen is host:port; empty: no server.
	Listen string `key:"listen" empty:"off"`
	// WebConfig is a file of the Prometheus exporter toolkit, for TLS and basic authentication. Of these, /livez and /readyz have TLS only.
	WebConfig string `key:"web_config"`
	// Actions over HTTP are for a later version.
	Actions bool `key:"actions"`
}

// Log is what the program says of itself.
type Log struct {
	// Level is debug, info, warn or error: what is below is not logged.
	Level string `key:"level" live:"yes"`
}

// Default returns the configuration of a user who sets nothing. There is no other place for defaults.
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
			OnBadEvent:     "halt",
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
