package kafkatest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"walpost/internal/testenv/child"
)

// Options says what brokers to start. The zero value is one plain broker.
type Options struct {
	// Nodes is their number: 0 is one. With three, topics have three
	// replicas, of which two must be in sync.
	Nodes int
	// Protocol is the security protocol of the client listener, PLAINTEXT
	// when empty. Brokers talk to each other on a plain listener of their
	// own, which [Cluster.Internal] names. What else the protocol needs goes
	// into Properties.
	Protocol string
	// Properties go into server.properties and win over the package's own.
	Properties map[string]string
	// Java are the virtual machine's options, such as "-Xmx1g". Those for
	// brokers under test, which start fast and compute slowly, when empty.
	Java []string
	// Format are further arguments of kafka-storage's format command:
	// "--add-scram", "SCRAM-SHA-256=[name=alice,password=secret]".
	Format []string
}

// node is one broker's addresses: for clients, for its peers, and for the
// controllers' quorum.
type node struct {
	id                           int
	client, internal, controller int
}

// properties are the text of a node's server.properties.
func (o Options) properties(n node, all []node, logs string) string {
	replicas := min(3, len(all))
	inSync := max(1, replicas-1)
	listener := func(name string, port int) string { return name + "://" + child.Address(port) }
	settings := map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          strconv.Itoa(n.id),
		"controller.quorum.voters":                         voters(all),
		"controller.listener.names":                        "CONTROLLER",
		"inter.broker.listener.name":                       "INTERNAL",
		"listeners":                                        listener("CLIENT", n.client) + "," + listener("INTERNAL", n.internal) + "," + listener("CONTROLLER", n.controller),
		"advertised.listeners":                             listener("CLIENT", n.client) + "," + listener("INTERNAL", n.internal),
		"listener.security.protocol.map":                   "CLIENT:" + o.protocol() + ",INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs":                                         logs,
		"auto.create.topics.enable":                        "false",
		"default.replication.factor":                       strconv.Itoa(replicas),
		"min.insync.replicas":                              strconv.Itoa(inSync),
		"unclean.leader.election.enable":                   "false",
		"offsets.topic.replication.factor":                 strconv.Itoa(replicas),
		"transaction.state.log.min.isr":                    strconv.Itoa(inSync),
		"share.coordinator.state.topic.min.isr":            strconv.Itoa(inSync),
		"transaction.state.log.replication.factor":         strconv.Itoa(replicas),
		"share.coordinator.state.topic.replication.factor": strconv.Itoa(replicas),
		// First use of groups and transactions creates these topics, and a
		// group waits for more members: no waiting here.
		"offsets.topic.num.partitions":         "1",
		"transaction.state.log.num.partitions": "1",
		"group.initial.rebalance.delay.ms":     "0",
		// A dead or frozen broker's partitions move after this, not after 9 s.
		"broker.session.timeout.ms":    "3000",
		"broker.heartbeat.interval.ms": "500",
	}
	maps.Copy(settings, o.Properties)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		// A backslash is the format's escape character.
		fmt.Fprintf(&b, "%s=%s\n", name, strings.ReplaceAll(settings[name], `\`, `\\`))
	}
	return b.String()
}

func (o Options) machine() []string {
	if len(o.Java) == 0 {
		return frugal
	}
	return o.Java
}

func (o Options) protocol() string {
	if o.Protocol == "" {
		return "PLAINTEXT"
	}
	return o.Protocol
}

func voters(all []node) string {
	var list []string
	for _, n := range all {
		list = append(list, fmt.Sprintf("%d@%s", n.id, child.Address(n.controller)))
	}
	return strings.Join(list, ",")
}

// logging is log4j's configuration: warnings to standard output, which goes
// to the node's log file.
const logging = `status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
`
