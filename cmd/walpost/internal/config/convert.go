package config

import (
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/relay"
	"walpost/relay/postgres"
	"walpost/schema"
	"walpost/sink"
	"walpost/sink/auth"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// This file converts the configuration to the configurations of walpost's parts. These functions return no error if [Load] has found no
// problem.

// Mapping returns the columns. A name that somebody has set counts as explicit.
func (c *Config) Mapping() schema.Mapping {
	n := c.Outbox.Columns
	m := schema.Mapping{Names: [schema.NumColumns]string{
		schema.ID: n.ID, schema.AggregateType: n.AggregateType, schema.AggregateID: n.AggregateID, schema.Type: n.Type, schema.Payload: n.Payload,
		schema.Headers: n.Headers, schema.CreatedAt: n.CreatedAt, schema.Timestamp: n.Timestamp, schema.Topic: n.Topic, schema.Partition: n.Partition,
	}}
	for col := range m.Names {
		m.Explicit[col] = m.Names[col] != "" && c.origins["outbox.columns."+schema.Column(col).String()] != ""
	}
	return m
}

// Table returns the name of the outbox table.
func (c *Config) Table() (schema.Table, error) { return schema.ParseTable(c.Outbox.Table) }

// Security returns the security protocol and the login for connections to brokers.
func (c *Config) Security() auth.Security {
	k := c.Kafka
	return auth.Security{
		Protocol: k.SecurityProtocol, Mechanism: k.SASLMechanism, Username: k.SASLUsername, Password: string(k.SASLPassword),
		TokenURL: k.SASLTokenURL, ClientID: k.SASLClientID, ClientSecret: string(k.SASLClientSecret), Scope: k.SASLScope,
		CAFile: k.SSLCALocation, CertFile: k.SSLCertificateLocation, KeyFile: k.SSLKeyLocation, KeyPassword: string(k.SSLKeyPassword),
	}
}

// Sink returns the configuration of a Kafka sink, without logger and registerer.
func (c *Config) Sink() (sink.Config, error) {
	codec, err := recordbatch.ParseCodec(c.Kafka.CompressionType)
	if err != nil {
		return sink.Config{}, err
	}
	partitioner, err := record.ParsePartitioner(c.Kafka.Partitioner)
	if err != nil {
		return sink.Config{}, err
	}
	profile, err := record.ParseProfile(c.Outbox.Profile)
	if err != nil {
		return sink.Config{}, err
	}
	topic, err := c.Topic()
	if err != nil {
		return sink.Config{}, err
	}
	source, err := c.source()
	if err != nil {
		return sink.Config{}, err
	}
	budget := 0
	if c.Outbox.OnBadEvent == "park" && c.Outbox.BlockedTopic == "park" {
		budget = int(c.Relay.MaxInFlightBytes)
	}
	return sink.Config{
		Budget:  budget,
		Brokers: c.servers(), ClientID: c.Kafka.ClientID, Security: c.Security(),
		Codec: codec, Linger: time.Duration(c.Kafka.LingerMS) * time.Millisecond, MaxRequestSize: int(c.Kafka.MaxRequestSize),
		RequestTimeout:   time.Duration(c.Kafka.RequestTimeoutMS) * time.Millisecond,
		AutoCreateTopics: c.Kafka.AllowAutoCreateTopics, Partitioner: partitioner,
		Record: record.Config{Topic: topic, Source: source, Profile: profile, PositionHeader: c.Outbox.PositionHeader, Static: c.Outbox.HeadersStatic},
	}, nil
}

// Topic returns the template for the names of topics.
func (c *Config) Topic() (schema.Template, error) {
	return schema.ParseTemplate(c.Outbox.Topic, c.Mapping())
}

// PostgresConfig returns the configuration of the connection to Postgres, slot, publication and table, without a logger.
func (c *Config) PostgresConfig() (postgres.Config, error) {
	table, err := c.Table()
	return postgres.Config{ConnString: string(c.Postgres.URL), Slot: c.Postgres.Slot, Publication: c.Postgres.Publication, Table: table, Mapping: c.Mapping(),
		Silence: c.Postgres.Silence}, err
}

// RelayConfig returns the configuration of a relay, without logger, sink and registerer.
func (c *Config) RelayConfig() (relay.Config, error) {
	source, err := c.PostgresConfig()
	return relay.Config{
		Config:           source,
		Park:             c.Outbox.OnBadEvent == "park",
		MaxParkedBytes:   int64(c.Outbox.MaxParkedBytes),
		Backfill:         c.Outbox.Backfill,
		MaxInFlightBytes: int64(c.Relay.MaxInFlightBytes), ShutdownTimeout: c.Relay.ShutdownTimeout,
	}, err
}

func (c *Config) servers() (list []string) {
	for _, server := range strings.Split(c.Kafka.BootstrapServers, ",") {
		list = append(list, strings.TrimSpace(server))
	}
	return list
}

// source returns the events' ce_source, a URI reference: the configured one, else /walpost/<database>/<schema>.<table>.
func (c *Config) source() (string, error) {
	if c.Outbox.Source != "" {
		return c.Outbox.Source, nil
	}
	table, err := c.Table()
	if err != nil {
		return "", err
	}
	pg, err := pgconn.ParseConfig(string(c.Postgres.URL))
	if err != nil {
		return "", explainConnString(err)
	}
	database := pg.Database
	if database == "" {
		database = pg.User // the server's default
	}
	return "/walpost/" + url.PathEscape(database) + "/" + url.PathEscape(table.Schema+"."+table.Name), nil
}
