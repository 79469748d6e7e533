package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"walpost/relay/postgres"
	"walpost/schema"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// validator gathers what is wrong with a configuration.
type validator struct {
	*Config
	skip map[string]bool // keys that could not be set: they hold their defaults
	errs []error
}

// validate returns all problems, except those of the keys in skip.
func (c *Config) validate(skip map[string]bool) []error {
	v := &validator{Config: c, skip: skip}
	v.postgres()
	v.outbox()
	v.kafka()
	v.relay()
	v.admin()
	v.oneOf("log.level", v.Log.Level, "debug", "info", "warn", "error")
	return v.errs
}

func (v *validator) wrong(path string, err error) {
	if err != nil && !v.skip[path] {
		v.errs = append(v.errs, v.problem(path, err))
	}
}

func (v *validator) oneOf(path, value string, allowed ...string) {
	for _, a := range allowed {
		if a == value {
			return
		}
	}
	last := len(allowed) - 1
	v.wrong(path, fmt.Errorf("%q is neither %s nor %s", value, strings.Join(allowed[:last], ", "), allowed[last]))
}

// notYet refuses a value that only a later version supports. Doing something else instead would surprise users more.
func (v *validator) notYet(path string, asked bool, what, instead string) {
	if asked {
		v.wrong(path, fmt.Errorf("%s is not in this version of walpost yet; leave it at %s", what, instead))
	}
}

func (v *validator) postgres() {
	v.wrong("postgres.url", checkConnString(string(v.Postgres.URL)))
	if !postgres.LegalSlotName(v.Postgres.Slot) {
		v.wrong("postgres.slot", fmt.Errorf("%q is not a name for a slot; use 1 to 63 lower-case letters, digits and underscores", v.Postgres.Slot))
	}
	if n := len(v.Postgres.Publication); n == 0 || n > 63 {
		v.wrong("postgres.publication", fmt.Errorf("%q is not a name for a publication; use 1 to 63 bytes", v.Postgres.Publication))
	}
	if v.Postgres.Silence < time.Second { // walpost asks the walsender for an answer every third of it
		v.wrong("postgres.silence", fmt.Errorf("%s is less than 1s", v.Postgres.Silence))
	}
}

func (v *validator) outbox() {
	_, err := schema.ParseTable(v.Outbox.Table)
	v.wrong("outbox.table", err)
	mapping := v.Mapping()
	for c := schema.Column(0); c < schema.NumColumns; c++ {
		if c.Required() && mapping.Names[c] == "" {
			v.wrong("outbox.columns."+c.String(), errors.New("is empty; an outbox must have this column: set its name in the table"))
		}
	}
	_, err = schema.ParseTemplate(v.Outbox.Topic, mapping)
	v.wrong("outbox.topic", err)
	v.oneOf("outbox.profile", v.Outbox.Profile, "cloudevents", "debezium")
	v.oneOf("outbox.backfill", v.Outbox.Backfill, "publish", "skip")
	v.oneOf("outbox.retention", v.Outbox.Retention, "keep", "delete")
	v.notYet("outbox.retention", v.Outbox.Retention == "delete", "the retention delete", "keep")
	v.wrong("outbox.source", checkSource(v.Outbox.Source))
	for _, name := range slices.Sorted(maps.Keys(v.Outbox.HeadersStatic)) {
		v.wrong("outbox.headers_static", v.checkHeader(name))
	}
	v.oneOf("outbox.on_bad_event", v.Outbox.OnBadEvent, "park", "halt")
	v.oneOf("outbox.blocked_topic", v.Outbox.BlockedTopic, "park", "wait")
	if n := v.Outbox.MaxParkedBytes; n < 1 {
		v.wrong("outbox.max_parked_bytes", fmt.Errorf("%d is not a number of bytes above 0", int64(n)))
	}
}

// checkHeader returns an error if a static header must not have the name, because walpost sets a header of that name itself.
func (v *validator) checkHeader(name string) error {
	switch {
	case name == "":
		return errors.New("a name is empty")
	case record.Reserved(name):
		return fmt.Errorf("%s is reserved: walpost sets id and the headers that begin with ce_ or walpost_ itself; take another name", PrintableName(name))
	case name == "content-type" && v.Outbox.Profile == "cloudevents":
		return errors.New("content-type follows from the type of the payload's column in profile cloudevents; a row can set another one in its headers column")
	}
	return nil
}

// checkSource returns an error if a text is not a ce_source. CloudEvents requires a URI reference, and consumers refuse anything else.
func checkSource(source string) error {
	foreign := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"<>\\^`{|}", r) }
	if _, err := url.Parse(source); err != nil || strings.ContainsFunc(source, foreign) {
		return fmt.Errorf("%q is not a URI reference; write one such as /shop/orders or https://shop.example/orders, with %%20 for a space", source)
	}
	return nil
}

func (v *validator) kafka() {
	k := v.Kafka
	v.wrong("kafka.bootstrap.servers", checkServers(k.BootstrapServers))
	_, err := recordbatch.ParseCodec(k.CompressionType)
	v.wrong("kafka.compression.type", unprefixed(err, "compression.type "))
	if len(k.ClientID) > math.MaxInt16 { // the protocol has no room for a longer one
		v.wrong("kafka.client.id", fmt.Errorf("has %d bytes; Kafka takes up to %d", len(k.ClientID), math.MaxInt16))
	}
	if k.LingerMS < 0 {
		v.wrong("kafka.linger.ms", fmt.Errorf("%d is less than 0", k.LingerMS))
	}
	if n := k.MaxRequestSize; n < 1 || n > maxRequestSize {
		v.wrong("kafka.max.request.size", fmt.Errorf("%d is not between 1 and %d bytes", int64(n), maxRequestSize))
	}
	if k.RequestTimeoutMS < minRequestTimeoutMS {
		v.wrong("kafka.request.timeout.ms", fmt.Errorf("%d is less than %d, which leaves busy followers no time", k.RequestTimeoutMS, minRequestTimeoutMS))
	}
	_, err = record.ParsePartitioner(k.Partitioner)
	v.wrong("kafka.partitioner", unprefixed(err, "partitioner "))
	for _, e := range v.Security().Check() {
		v.wrong("kafka."+e.Key, e.Err)
	}
}

// minRequestTimeoutMS is a time within which the followers of a healthy cluster copy a batch. If a leader may wait less, it refuses a batch
// that its followers copy a moment later, and the batch is sent again and again.
const minRequestTimeoutMS = 1000

// maxRequestSize is what a broker accepts in a request by default, less some bytes for everything around a batch.
const maxRequestSize = 100_000_000

// unprefixed removes a key's name from the beginning of an error: the path has it already.
func unprefixed(err error, prefix string) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.TrimPrefix(err.Error(), prefix))
}

func checkServers(list string) error {
	for _, server := range strings.Split(list, ",") {
		if err := checkAddress(strings.TrimSpace(server)); err != nil {
			return fmt.Errorf("%w; write host:port, with commas between several", err)
		}
	}
	return nil
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.Contains(host, "/") {
		return fmt.Errorf("%q is not an address", address)
	}
	return checkPort(address, port)
}

func checkPort(address, port string) error {
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no valid port", address)
	}
	return nil
}

func (v *validator) relay() {
	// While one batch waits for its ack, the reader must be able to fill the next one.
	if r, k := v.Relay.MaxInFlightBytes, v.Kafka.MaxRequestSize; r < 2*k {
		v.wrong("relay.max_in_flight_bytes", fmt.Errorf("%s is less than twice kafka.max.request.size, which is %s", r, k))
	}
	if v.Relay.ShutdownTimeout < time.Millisecond {
		v.wrong("relay.shutdown_timeout", fmt.Errorf("%s is less than 1ms", v.Relay.ShutdownTimeout))
	}
}

func (v *validator) admin() {
	if a := v.Admin.Listen; a != "" {
		if _, port, err := net.SplitHostPort(a); err != nil {
			v.wrong("admin.listen", fmt.Errorf(`%q is not an address; write host:port, or "" for no server`, a))
		} else {
			v.wrong("admin.listen", checkPort(a, port))
		}
	}
	v.wrong("admin.web_config", checkWebConfig(v.Admin.WebConfig))
	v.notYet("admin.actions", v.Admin.Actions, "the API for actions", "false")
}
