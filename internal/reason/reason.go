// Package reason lists the codes that name why walpost waits, is not ready, refuses an event or has ended: the body of /readyz, the key
// reason of the log, reason_code of /api/status and the label reason of metrics.
//
// A code is a promise to scripts: it is never renamed and never means something else. It holds no host, role, table or topic, so anyone may
// see it; what it is about, and the cure, is in the text of the error. An error gets its code where it is classified, by a method Reason,
// which [Of] asks for. Packages that only pass errors on choose no codes.
package reason

import "errors"

// Code is one word in lower case, with underscores.
type Code string

// What the process itself is doing.
const (
	Starting     Code = "starting"      // it has not reached Postgres yet
	Stopping     Code = "stopping"      // it was asked to stop
	SecondSignal Code = "second_signal" // it was asked twice, and left at once
	AdminServer  Code = "admin_server"  // the admin server cannot listen, or has failed
	Unexpected   Code = "unexpected"    // an error that walpost does not know
)

// The way to Postgres, and its server.
const (
	ConnectionString     Code = "connection_string"      // postgres.url, or a file that it names, cannot be read
	ConnectionParameter  Code = "connection_parameter"   // a parameter of the connection is refused, by the server or a pooler
	PoolerBetween        Code = "pooler_between"         // a pooler answers in the place of the server
	PostgresUnreachable  Code = "postgres_unreachable"   // nobody answers at the address
	PostgresTLS          Code = "postgres_tls"           // the two sides do not agree on TLS
	PostgresLogin        Code = "postgres_login"         // the server refuses the user or the password
	PostgresNotReady     Code = "postgres_not_ready"     // the server is starting or stopping
	PostgresSilent       Code = "postgres_silent"        // the connection stands, and the server does not answer
	PostgresError        Code = "postgres_error"         // the server answered with an error that is retried
	PostgresIsStandby    Code = "postgres_is_standby"    // the server is in recovery
	PostgresReadOnly     Code = "postgres_read_only"     // the role's transactions may not write
	PostgresUnsuitable   Code = "postgres_unsuitable"    // the server is too old, or is not Postgres itself
	TooManyConnections   Code = "too_many_connections"   // the server, the role or the database has no connection left
	DatabaseMissing      Code = "database_missing"       // there is no such database
	DatabaseClosed       Code = "database_closed"        // the database lets nobody in
	AnotherServer        Code = "another_server"         // the slot was streamed from a server with another system identifier
	WALLevel             Code = "wal_level"              // wal_level is not logical
	PrivilegeMissing     Code = "privilege_missing"      // the role may not do what walpost has to
	WalsenderSilent      Code = "walsender_silent"       // it streams, and the server is at work on something large
	StreamLost           Code = "stream_lost"            // the replication connection ended
	SchemaMissing        Code = "schema_missing"         // schema walpost is not in the database
	SchemaOutdated       Code = "schema_outdated"        // schema walpost is of another version, or part of it is missing
	RowSecurity          Code = "row_security"           // row level security would hide rows of the outbox
	TableMissing         Code = "table_missing"          // outbox.table names no table
	TableUnsuitable      Code = "table_unsuitable"       // its columns do not fit outbox.columns
	RowsUnstreamed       Code = "rows_outside_stream"    // rows are inserted into child tables or unlogged partitions, which the stream does not show
	RowUnreadable        Code = "row_unreadable"         // a row does not fit outbox.columns
	StreamUnreadable     Code = "stream_unreadable"      // a message of the stream could not be decoded
	Backfill             Code = "backfill"               // rows that were in the table at the first start are being published
	BackfillTooLarge     Code = "backfill_too_large"     // the table has more rows than a backfill can number
	FirstStartUnfinished Code = "first_start_unfinished" // an earlier first start did not end
)

// The slot.
const (
	SlotHeld              Code = "slot_held"              // another relay has the slot, or is making its first start
	SlotWaits             Code = "slot_waits"             // creating the slot waits for transactions that are writing
	SlotMissing           Code = "slot_missing"           // the slot was streamed before, and does not exist
	SlotLost              Code = "slot_lost"              // Postgres removed WAL that the slot needed
	SlotMoved             Code = "slot_moved"             // somebody advanced the slot
	SlotAhead             Code = "slot_ahead"             // the slot stands beyond the end of the server's WAL
	SlotUnsuitable        Code = "slot_unsuitable"        // the slot is physical, of another plugin or database, or has two_phase
	SlotName              Code = "slot_name"              // no slot can have that name
	NoFreeSlot            Code = "no_free_slot"           // max_replication_slots is used up
	PublicationMissing    Code = "publication_missing"    // the publication does not exist
	PublicationIncomplete Code = "publication_incomplete" // it leaves out the table, some of its rows or of its columns
	PublicationGap        Code = "publication_gap"        // rows may be missing from the stream: it did not exist, or was altered, for a while
)

// Kafka.
const (
	KafkaUnreachable   Code = "kafka_unreachable"    // nobody answers at the address, or hangs up
	KafkaListener      Code = "kafka_listener"       // the listener speaks another protocol than kafka.security.protocol
	KafkaTLS           Code = "kafka_tls"            // the two sides do not agree on TLS
	KafkaLogin         Code = "kafka_login"          // the brokers, or the issuer of tokens, refuse the login
	KafkaNotReady      Code = "kafka_not_ready"      // the brokers answer, and cannot do it yet
	KafkaNotAuthorized Code = "kafka_not_authorized" // the right to produce idempotently is missing
	KafkaUnsuitable    Code = "kafka_unsuitable"     // the brokers do not know a version, a codec or a policy forbids it
	TopicMissing       Code = "topic_missing"        // the topic does not exist
	TopicNotAuthorized Code = "topic_not_authorized" // the right to write to the topic is missing
	NotEnoughReplicas  Code = "not_enough_replicas"  // min.insync.replicas is not met
	RequestCut         Code = "request_cut"          // the connection ends whenever a certain request is sent: it is too large for the brokers, or for what stands before them
	AcksOverdue        Code = "acks_overdue"         // events have waited for ten seconds, and Kafka gives no reason
)

// Events that can never become a record.
const (
	InvalidEvent     Code = "invalid_event"     // the row cannot be a record
	InvalidRecord    Code = "invalid_record"    // the broker refuses the record, such as one without a key on a compacted topic
	InvalidTimestamp Code = "invalid_timestamp" // the record's time is out of the topic's range
	InvalidTopic     Code = "invalid_topic"     // no topic can have that name
	TooManyTopics    Code = "too_many_topics"   // rows name more topics than walpost publishes to
	MessageTooLarge  Code = "message_too_large" // the record is larger than its topic takes
	Refused          Code = "refused"           // the broker refuses the record for another reason
)

// Of returns the code of an error: that of the outermost one in its chain that has any. It is empty where there is none.
func Of(err error) Code {
	for err != nil {
		var r interface{ Reason() Code }
		if !errors.As(err, &r) {
			return ""
		}
		if code := r.Reason(); code != "" {
			return code
		}
		inner, ok := r.(error)
		if !ok {
			return ""
		}
		err = errors.Unwrap(inner)
	}
	return ""
}

// With returns err with a code. Its text stays as it is; nil stays nil.
func With(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &coded{err, code}
}

type coded struct {
	error
	code Code
}

func (c *coded) Unwrap() error { return c.error }
func (c *coded) Reason() Code  { return c.code }
