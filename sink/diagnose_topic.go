package sink

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/IBM/sarama"

	"walpost/internal/diagnosis"
	"walpost/sink/kafkaerror"
	"walpost/sink/wire"
)

// topics checks the topics by asking a broker about them. Asking never creates a topic, whatever kafka.allow.auto.create.topics says.
func (d *diagnosing) topics(b *sarama.Broker, names []string) {
	res, err := b.GetMetadata(&sarama.MetadataRequest{Version: 8, Topics: names, IncludeTopicAuthorizedOperations: true})
	if err != nil {
		d.list.Add("topic", diagnosis.Failed, fmt.Sprintf("ask %s for the topics: %v", b.Addr(), err), waitCure(err))
		return
	}
	for _, t := range res.Topics {
		d.topic(b, t)
	}
}

func (d *diagnosing) topic(b *sarama.Broker, t *sarama.TopicMetadata) {
	const check = "topic"
	switch {
	case t.Err == sarama.ErrUnknownTopicOrPartition && d.k.cfg.AutoCreateTopics:
		d.list.OK(check, "topic %s does not exist: its first event creates it, if the brokers have auto.create.topics.enable", t.Name)
		return
	case t.Err == sarama.ErrUnknownTopicOrPartition:
		d.list.Add(check, diagnosis.Failed, fmt.Sprintf("topic %s does not exist", t.Name), d.k.cfg.withNames(kafkaerror.Cure(t.Err), t.Name))
		return
	case t.Err == sarama.ErrInvalidTopic:
		d.list.Add(check, diagnosis.Failed, fmt.Sprintf("a topic cannot have the name %q", t.Name), "correct outbox.topic: Kafka allows letters, digits, dot, underscore and minus, up to 249 characters")
		return
	case t.Err != sarama.ErrNoError && t.Err != sarama.ErrLeaderNotAvailable:
		d.list.Add(check, diagnosis.Failed, fmt.Sprintf("topic %s: %v", t.Name, t.Err), d.k.cfg.withNames(kafkaerror.Cure(t.Err), t.Name))
		return
	}
	if leaderless := d.leaderless(t); leaderless != "" {
		d.list.Add(check, diagnosis.Failed, fmt.Sprintf("topic %s: no leader for partition %s", t.Name, leaderless),
			d.k.cfg.withNames("start the brokers that hold it: kafka-topics.sh --describe --topic NAME --bootstrap-server BROKERS", t.Name))
		return
	}
	if ops := t.TopicAuthorizedOperations; ops != math.MinInt32 && ops&(1<<sarama.AclOperationWrite) == 0 {
		d.list.Add(check, diagnosis.Failed, fmt.Sprintf("topic %s: the right to write is missing", t.Name), d.k.cfg.withNames(kafkaerror.Cure(sarama.ErrTopicAuthorizationFailed), t.Name))
		return
	}
	d.durability(b, t)
}

func (d *diagnosing) leaderless(t *sarama.TopicMetadata) string {
	var list []string
	for _, p := range t.Partitions {
		if p.Leader < 0 {
			list = append(list, strconv.Itoa(int(p.ID)))
		}
	}
	return strings.Join(list, ", ")
}

// durability checks what an ack of this topic guarantees.
func (d *diagnosing) durability(b *sarama.Broker, t *sarama.TopicMetadata) {
	const check = "topic"
	replicas, inSync := math.MaxInt, math.MaxInt
	for _, p := range t.Partitions {
		replicas, inSync = min(replicas, len(p.Replicas)), min(inSync, len(p.Isr))
	}
	found := fmt.Sprintf("topic %s: %d partitions, %d replicas", t.Name, len(t.Partitions), replicas)
	all, _ := wire.TopicSettings(b, []string{t.Name}, "min.insync.replicas", "cleanup.policy", "unclean.leader.election.enable")
	settings := all[t.Name]
	least, err := strconv.Atoi(settings["min.insync.replicas"])
	if err != nil {
		d.list.OK(check, "%s; its settings cannot be read (DescribeConfigs), so min.insync.replicas is not checked", found)
		return
	}
	found = fmt.Sprintf("%s, min.insync.replicas %d", found, least)
	alter := func(setting string) string {
		return "kafka-configs.sh --alter --entity-type topics --entity-name " + t.Name + " --add-config " + setting + d.k.cfg.withNames(" --bootstrap-server BROKERS", "")
	}
	switch {
	case replicas < least: // some versions refuse all events, others take as many replicas as there are
		d.list.Add(check, diagnosis.Warning, found+": more than there are replicas, so some versions of Kafka refuse all events", alter("min.insync.replicas="+strconv.Itoa(max(replicas-1, 1)))+", or add replicas")
	case inSync < least:
		d.list.Add(check, diagnosis.Failed, fmt.Sprintf("%s, but only %d in sync: nothing can be written", found, inSync), d.k.cfg.withNames("start the brokers that are down: kafka-topics.sh --describe --under-min-isr-partitions --bootstrap-server BROKERS", ""))
	case replicas == 1:
		d.list.Add(check, diagnosis.Warning, found+": if a broker loses its disk, acknowledged events are lost, and while the broker is down nothing can be written",
			"in production, use 3 replicas and min.insync.replicas 2 (kafka-reassign-partitions.sh)")
	case least == 1:
		d.list.Add(check, diagnosis.Warning, found+": an ack may mean that only one broker has the event, and if that broker is lost, so is the event", alter("min.insync.replicas=2"))
	case least >= replicas:
		d.list.Add(check, diagnosis.Warning, found+": nothing can be written while a single broker is down", alter("min.insync.replicas="+strconv.Itoa(replicas-1)))
	default:
		d.list.OK(check, "%s", found)
	}
	if settings["unclean.leader.election.enable"] == "true" {
		d.list.Add(check, diagnosis.Warning, fmt.Sprintf("topic %s has unclean.leader.election.enable=true: a broker that is behind may become the leader, and then acknowledged events are lost", t.Name),
			alter("unclean.leader.election.enable=false"))
	}
	if strings.Contains(settings["cleanup.policy"], "compact") {
		d.list.Add(check, diagnosis.Warning, fmt.Sprintf("topic %s has cleanup.policy=%s: it refuses events without a key, and keeps only the last event of each key", t.Name, settings["cleanup.policy"]),
			alter("cleanup.policy=delete")+", unless this is intended")
	}
}
