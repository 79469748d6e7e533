package sink

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/diagnosis"
	"walpost/internal/kafkatest"
	"walpost/schema"
	"walpost/sink/auth"
	"walpost/sink/wire"
)

// diagnose diagnoses the cluster as cfg has it.
func diagnose(t *testing.T, cfg Config, topics ...string) []diagnosis.Finding {
	t.Helper()
	k, err := NewKafka(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return k.Diagnose(ctx, topics...)
}

// findings checks that the findings are those in want, in order, as "topic failed". It returns all texts, including cures, as one.
func findings(t *testing.T, list []diagnosis.Finding, want ...string) (text string) {
	t.Helper()
	var got []string
	for _, f := range list {
		got = append(got, f.Check+" "+string(f.Level))
		text += f.Found + "; " + f.Cure + "\n"
		if f.Target != "kafka" || (f.Level == diagnosis.OK) != (f.Cure == "") || strings.Contains(f.Found+f.Cure, "\n") {
			t.Errorf("finding %+v", f)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q:\n%s", got, want, text)
	}
	return text
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in:\n%s", part, text)
		}
	}
}

func TestDiagnoseHealthy(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 2, nil)
	cfg := config(t, brokers)
	text := findings(t, diagnose(t, cfg, topic), "bootstrap ok", "producer_id ok", "brokers ok", "topic warning")
	contains(t, text, "security.protocol PLAINTEXT", "topic "+topic+": 2 partitions, 1 replicas, min.insync.replicas 1: if a broker loses its disk")

	findings(t, diagnose(t, config(t, brokers)), "bootstrap ok", "producer_id ok", "brokers ok", "topic ok") // no topic to look at

	// The template always names the same topic. Of two servers, one is down.
	var err error
	cfg = config(t, append(slices.Clone(brokers), "127.0.0.1:1"))
	if cfg.Record.Topic, err = schema.ParseTemplate(topic+".absent", schema.DefaultMapping()); err != nil {
		t.Fatal(err)
	}
	text = findings(t, diagnose(t, cfg), "bootstrap ok", "bootstrap warning", "producer_id ok", "brokers ok", "topic failed")
	contains(t, text, "127.0.0.1:1", "kafka-topics.sh --create --topic "+topic+".absent")
	cfg.AutoCreateTopics = true
	cfg.Registerer = config(t, brokers).Registerer
	findings(t, diagnose(t, cfg), "bootstrap ok", "bootstrap warning", "producer_id ok", "brokers ok", "topic ok")
	cfg.AutoCreateTopics = false
	cfg.Registerer = config(t, brokers).Registerer
	findings(t, diagnose(t, cfg), "bootstrap ok", "bootstrap warning", "producer_id ok", "brokers ok", "topic failed") // asking has made none
}

func TestDiagnoseTopics(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 1, map[string]string{"cleanup.policy": "compact", "min.insync.replicas": "2", "unclean.leader.election.enable": "true"})
	text := findings(t, diagnose(t, config(t, brokers), topic, "no/topic"), "bootstrap ok", "producer_id ok", "brokers ok", "topic warning", "topic warning", "topic warning", "topic failed")
	contains(t, text, "min.insync.replicas 2: more than there are replicas", "min.insync.replicas=1", "unclean.leader.election.enable=false", "cleanup.policy=compact", `a topic cannot have the name "no/topic"`)
}

func TestDiagnoseNobody(t *testing.T) {
	text := findings(t, diagnose(t, config(t, []string{"127.0.0.1:1"})), "bootstrap failed")
	contains(t, text, "127.0.0.1:1", "check the address")

	// With a peer that sends nothing, Diagnose ends with ctx.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	k, err := NewKafka(config(t, []string{silent.Addr().String()}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if conn, err := silent.Accept(); err == nil {
			cancel()
			defer conn.Close()
			<-t.Context().Done()
		}
	}()
	began := time.Now()
	findings(t, k.Diagnose(ctx), "bootstrap failed")
	if took := time.Since(began); took > wire.ReadTimeout/2 {
		t.Errorf("it took %s", took)
	}
}

// A broker with ACLs: each missing right fails, with the command that grants it, and nothing shows the password.
func TestDiagnoseRights(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.Start(t, kafkatest.Options{Protocol: "SASL_PLAINTEXT", Properties: map[string]string{
		"sasl.enabled.mechanisms":                     "PLAIN",
		"listener.name.client.plain.sasl.jaas.config": `org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="canary";`,
		"authorizer.class.name":                       "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                                 "User:ANONYMOUS",
	}})
	for _, topic := range []string{"hidden", "seen", "granted"} {
		kafkatest.Topic(t, cluster.Internal(), topic, 1, nil)
	}
	cfg := config(t, cluster.Brokers())
	cfg.Security = auth.Security{Protocol: "SASL_PLAINTEXT", Mechanism: "PLAIN", Username: "alice", Password: "canary"}
	text := findings(t, diagnose(t, cfg, "hidden"), "bootstrap ok", "producer_id failed", "brokers ok", "topic failed")
	contains(t, text, "logged in by PLAIN", "--allow-principal User:alice --operation IdempotentWrite --cluster", "--allow-principal User:alice --producer --topic hidden")

	grant(t, cluster, "seen", sarama.AclOperationDescribe)
	grant(t, cluster, "granted", sarama.AclOperationDescribe)
	grant(t, cluster, "granted", sarama.AclOperationWrite)
	cfg.Registerer = config(t, nil).Registerer
	text += findings(t, diagnose(t, cfg, "seen", "granted"), "bootstrap ok", "producer_id ok", "brokers ok", "topic failed", "topic ok")
	contains(t, text, "topic seen: the right to write is missing", "--producer --topic seen", "topic granted: 1 partitions, 1 replicas; its settings cannot be read")

	cfg.Security = auth.Security{}
	cfg.Registerer = config(t, nil).Registerer
	text += findings(t, diagnose(t, cfg, "granted"), "bootstrap ok", "producer_id failed")
	contains(t, text, "the listener wants a login", "set it to SASL_PLAINTEXT")

	cfg.Security = auth.Security{Protocol: "SASL_PLAINTEXT", Mechanism: "PLAIN", Username: "alice", Password: "canary2"}
	cfg.Registerer = config(t, nil).Registerer
	text += findings(t, diagnose(t, cfg, "granted"), "bootstrap failed")
	contains(t, text, "Authentication failed", "kafka.sasl.username (alice)")
	if strings.Contains(text, "canary") {
		t.Errorf("a password is shown:\n%s", text)
	}
}

// grant gives alice a right on a topic, and waits until the broker knows.
func grant(t *testing.T, cluster *kafkatest.Cluster, topic string, operation sarama.AclOperation) {
	t.Helper()
	c := sarama.NewConfig()
	c.Version = sarama.V2_8_0_0
	admin, err := sarama.NewClusterAdmin(cluster.Internal(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	acl := &sarama.ResourceAcls{
		Resource: sarama.Resource{ResourceType: sarama.AclResourceTopic, ResourceName: topic, ResourcePatternType: sarama.AclPatternLiteral},
		Acls:     []*sarama.Acl{{Principal: "User:alice", Host: "*", Operation: operation, PermissionType: sarama.AclPermissionAllow}},
	}
	if err := admin.CreateACLs([]*sarama.ResourceAcls{acl}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		found, err := admin.ListAcls(sarama.AclFilter{ResourceType: sarama.AclResourceTopic, ResourceName: &topic,
			ResourcePatternTypeFilter: sarama.AclPatternLiteral, Operation: operation, PermissionType: sarama.AclPermissionAllow})
		if err == nil && len(found) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker does not know the ACL: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // the pause of a poll
	}
}
