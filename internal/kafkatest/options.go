package kafkatest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"walpost/internal/testenv/child"
)

// Options says which brokers to start. The zero value means one plain broker.
type Options struct {
	// Nodes is the number of brokers; 0 means one. With three brokers, topics have three replicas, and two must be in sync.
	Nodes int
	// Protocol is the security protocol of the client listener; empty means PLAINTEXT. Brokers talk to each other on a separate plain
	// listener; [Cluster.Internal] returns its addresses. Other settings that the protocol needs go into Properties.
	Protocol string
	// ACLs makes the brokers check ACLs. What has none is allowed to everybody.
	ACLs bool
	// Properties go into server.properties and override those of this package.
	Properties map[string]string
	// Java are the options for the Java virtual machine, such as "-Xmx1g". The defaults are for brokers under test: they start fast and
	// compute slowly.
	Java []string
	// Format are further arguments of kafka-storage's format command:
	// "--add-scram", "SCRAM-SHA-256=[name=alice,password=secret]".
	Format []string
}

// node is one broker with its ports: for clients, for other brokers, and for the controllers' quorum.
type node struct {
	id                           int
	client, internal, controller int
}

// properties returns the text of a node's server.properties.
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
		"log.retention.ms":                                 "-1", // otherwise, records with an old timestamp are deleted at the next check, every five minutes
		"default.replication.factor":                       strconv.Itoa(replicas),
		"min.insync.replicas":                              strconv.Itoa(inSync),
		"unclean.leader.election.enable":                   "false",
		"offsets.topic.replication.factor":                 strconv.Itoa(replicas),
		"transaction.state.log.min.isr":                    strconv.Itoa(inSync),
		"share.coordinator.state.topic.min.isr":            strconv.Itoa(inSync),
		"transaction.state.log.replication.factor":         strconv.Itoa(replicas),
		"share.coordinator.state.topic.replication.factor": strconv.Itoa(replicas),
		// Tests should not wait for the creation of these topics at the first use of groups and transactions, nor for more members of a
		// group.
		"offsets.topic.num.partitions":         "1",
		"transaction.state.log.num.partitions": "1",
		"group.initial.rebalance.delay.ms":     "0",
		// The partitions of a dead or frozen broker move after this time, and not after 9 s.
		"broker.session.timeout.ms":    "3000",
		"broker.heartbeat.interval.ms": "500",
	}
	if o.ACLs {
		// The controllers log in to each other, as a super user: nodes vote before they can read ACLs.
		const login = `org.apache.kafka.common.security.plain.PlainLoginModule required username="controller" password="secret" user_controller="secret";`
		maps.Copy(settings, map[string]string{
			"authorizer.class.name":                            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
			"allow.everyone.if.no.acl.found":                   "true",
			"super.users":                                      "User:controller",
			"listener.security.protocol.map":                   "CLIENT:" + o.protocol() + ",INTERNAL:PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
			"sasl.mechanism.controller.protocol":               "PLAIN",
			"listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
			"listener.name.controller.plain.sasl.jaas.config":  login,
		})
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
		return smallJava
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

// logging is the configuration of log4j. It writes warnings to standard output, which goes to the node's log file.
const logging = `status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
`
