// Package reason lists the codes for why walpost waits, is not ready, refuses an event or has ended. They are in the body of /readyz, the
// key reason of the log, reason_code of /api/status and the label reason of metrics.
//
// Scripts may rely on codes: a code is never renamed and never changes its meaning. It contains no host, role, table or topic, so anyone
// may see it. The object and the cure are in the text of the error. An error gets its code where it is classified, with a method Reason,
// which [Of] calls. Packages that only pass errors on choose no codes.
package reason

import "errors"

// Code is one word in lower case, with underscores.
type Code string

// What the process itself is doing.
const (
	Starting     Code = "starting"      // it has not reached Postgres yet
	Stopping     Code = "stopping"      // it was asked to stop
	SecondSignal Code = "second_signal" // it was asked to stop twice, and ended at once
	AdminServer  Code = "admin_server"  // the admin server cannot listen, or has failed
	Unexpected   Code = "unexpected"    // an error that walpost has no code for
)

// The connection to Postgres, and its server.
const (
	ConnectionString     Code = "connection_string"      // postgres.url, or a file that it names, cannot be read
	ConnectionParameter  Code = "connection_parameter"   // a parameter of the connection is refused, by the server or a pooler
	PoolerBetween        Code = "pooler_between"         // a pooler answers in the place of the server
	PostgresUnreachable  Code = "postgres_unreachable"   // no server answers at the address
	PostgresTLS          Code = "postgres_tls"           // the two sides do not agree on TLS
	PostgresLogin        Code = "postgres_login"         // the server refuses the user or the password
	PostgresNotReady     Code = "postgres_not_ready"     // the server is starting or stopping
	PostgresSilent       Code = "postgres_silent"        // the connection exists, but the server does not answer
	PostgresError        Code = "postgres_error"         // the server answered with an error after which walpost tries again
	PostgresIsStandby    Code = "postgres_is_standby"    // the server is in recovery
	PostgresReadOnly     Code = "postgres_read_only"     // the role's transactions may not write
	PostgresUnsuitable   Code = "postgres_unsuitable"    // the server is too old, or is not Postgres itself
	TooManyConnections   Code = "too_many_connections"   // the server, the role or the database has no connection left
	DatabaseMissing      Code = "database_missing"       // the database does not exist
	DatabaseClosed       Code = "database_closed"        // the database allows no connections
	AnotherServer        Code = "another_server"         // the slot was streamed from a server with another system identifier
	WALLevel             Code = "wal_level"              // wal_level is not logical
	PrivilegeMissing     Code = "privilege_missing"      // the role lacks a privilege that walpost needs
	WalsenderSilent      Code = "walsender_silent"       // the slot is streamed, and the server is busy with something large
	StandbySlotAway      Code = "standby_slot_away"      // Postgres waits for a standby in synchronized_standby_slots, and sends nothing
	StreamLost           Code = "stream_lost"            // a connection to the server ended while it was used
	SchemaMissing        Code = "schema_missing"         // schema walpost does not exist in the database
	SchemaOutdated       Code = "schema_outdated"        // schema walpost has another version, or part of it is missing
	RowSecurity          Code = "row_security"           // row level security would hide rows of the outbox
	TableMissing         Code = "table_missing"          // the table in outbox.table does not exist
	TableUnsuitable      Code = "table_unsuitable"       // its columns do not fit outbox.columns
	RowsUnstreamed       Code = "rows_outside_stream"    // rows are inserted into child tables or unlogged partitions, which are not in the stream
	RowUnreadable        Code = "row_unreadable"         // a row does not fit outbox.columns
	StreamUnreadable     Code = "stream_unreadable"      // a message of the stream could not be decoded
	Backfill             Code = "backfill"               // rows that were in the table at the first start are being published
	BackfillTooLarge     Code = "backfill_too_large"     // the table has more rows than a backfill can number
	FirstStartUnfinished Code = "first_start_unfinished" // an earlier first start did not finish
)

// The slot.
const (
	EventsParked          Code = "events_parked"          // events are parked, and outbox.on_bad_event is halt
	SlotHeld              Code = "slot_held"              // another relay has the slot, or is making its first start
	SlotWaits             Code = "slot_waits"             // creating the slot waits for the end of transactions that write
	SlotMissing           Code = "slot_missing"           // the slot was streamed before, and no longer exists
	SlotLost              Code = "slot_lost"              // Postgres removed WAL that the slot needed
	SlotMoved             Code = "slot_moved"             // somebody advanced the slot
	SlotAhead             Code = "slot_ahead"             // the slot's position is beyond the end of the server's WAL
	SlotUnsuitable        Code = "slot_unsuitable"        // the slot is physical, of another plugin or database, or has two_phase
	SlotName              Code = "slot_name"              // no slot can have that name
	NoFreeSlot            Code = "no_free_slot"           // max_replication_slots is used up
	PublicationMissing    Code = "publication_missing"    // the publication does not exist
	PublicationIncomplete Code = "publication_incomplete" // the publication leaves out the table, or some of its rows or columns
	PublicationGap        Code = "publication_gap"        // rows may be missing from the stream: the publication did not exist, or was altered, for a while
)

// Kafka.
const (
	KafkaUnreachable   Code = "kafka_unreachable"    // no broker answers at the address, or it closes the connection
	KafkaListener      Code = "kafka_listener"       // the listener speaks another protocol than kafka.security.protocol
	KafkaTLS           Code = "kafka_tls"            // the two sides do not agree on TLS
	KafkaLogin         Code = "kafka_login"          // the brokers, or the issuer of tokens, refuse the login
	KafkaNotReady      Code = "kafka_not_ready"      // the brokers answer, but are not ready yet
	KafkaNotAuthorized Code = "kafka_not_authorized" // the right to produce with idempotence is missing
	KafkaUnsuitable    Code = "kafka_unsuitable"     // the brokers do not support a version or codec, or a policy forbids it
	TopicMissing       Code = "topic_missing"        // the topic does not exist
	TopicNotAuthorized Code = "topic_not_authorized" // the right to write to the topic is missing
	NotEnoughReplicas  Code = "not_enough_replicas"  // min.insync.replicas is not met
	RequestCut         Code = "request_cut"          // the connection ends whenever a certain request is sent: it is too large for the brokers, or for a proxy in front of them
	KeyParked          Code = "key_parked"           // an earlier event of the same topic and key is parked
	TopicBlocked       Code = "topic_blocked"        // its topic takes no records
	ParkedLimit        Code = "parked_limit"         // as many bytes are parked as outbox.max_parked_bytes allows
	AcksOverdue        Code = "acks_overdue"         // events have waited for ten seconds, and Kafka gives no reason
)

// Events that can never become records.
const (
	InvalidEvent     Code = "invalid_event"     // the row cannot be a record
	InvalidRecord    Code = "invalid_record"    // the broker refuses the record, such as one without a key on a compacted topic
	InvalidTimestamp Code = "invalid_timestamp" // the record's timestamp is outside the range that the topic accepts
	InvalidTopic     Code = "invalid_topic"     // no topic can have that name
	TooManyTopics    Code = "too_many_topics"   // rows name more topics than walpost publishes to
	MessageTooLarge  Code = "message_too_large" // the record is larger than its topic allows, or than walpost sends
	Refused          Code = "refused"           // the broker refuses the record for another reason
)

// Of returns the code of the outermost error in the chain that has one; "" if none has.
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

// With returns err with a code. The text does not change; nil stays nil.
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
