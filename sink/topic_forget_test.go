package sink

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/metadata"
	"walpost/sink/record"
)

// metadataOf makes the broker the leader of topics with one partition each.
func (b *scripted) metadataOf(topics ...string) {
	meta := sarama.NewMockMetadataResponse(b.t).SetBroker(b.Addr(), 1).SetController(1)
	for _, name := range topics {
		meta.SetLeader(name, 0, 1)
	}
	b.answer("MetadataRequest", meta)
}

// A topic without events for a day is forgotten, with its metrics. If it comes back, its lanes have another producer id: its partitions
// hold sequences of the old id, and brokers would treat new events with these as duplicates.
func TestSilentTopicIsForgotten(t *testing.T) {
	b := newScripted(t, "orders", 1)
	b.metadataOf("orders", "stock")
	acks := newLedger()
	cfg := config(t, []string{b.Addr()})
	p := open(t, cfg, acks)
	p.forgetAfter, p.refreshEvery = -time.Second, 5*time.Millisecond // a topic is silent as soon as nothing is on its way
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	acks.wait(t, 1, 0)
	until(t, "the topic to be silent", func() bool {
		publish(t, p, event("stock", "k", 1), 2)
		p.Flush(false)
		return p.topics["orders"] == nil
	})
	if p.topics["stock"] == nil {
		t.Error("a topic with an event in the pass was forgotten")
	}
	if n := len(p.knownTopics()); n > 1 {
		t.Errorf("%d topics are known", n)
	}
	for _, name := range []string{"walpost_events_published_total", "walpost_published_bytes_total", "walpost_topic_blocked_seconds"} {
		if _, series := sample(t, cfg, name, "orders"); series != 0 {
			t.Errorf("%s still has the topic", name)
		}
	}
	b.answer("InitProducerIDRequest", sarama.NewMockInitProducerIDResponse(t).SetProducerID(77))
	before := len(b.producers())
	publish(t, p, event("orders", "k", 3), 3)
	p.Flush(false)
	until(t, "the topic's next event", func() bool { return len(b.producers()) > before })
	if ids := b.producers(); ids[0] != 1 || ids[len(ids)-1] != 77 {
		t.Errorf("batches of producers %v, want 1 and then 77", ids)
	}
}

// A refresh may bring back a topic that was forgotten during it, or just before a caller joined it. The cache must not keep that topic,
// because nobody would remove it.
func TestForgottenTopicIsNotKeptByALook(t *testing.T) {
	p, c := offline(t, config(t, nil), newLedger())
	c.create("orders", 1)
	c.limits["orders"] = 1000
	<-p.meta.Refresh("orders", metadata.Settings) // the producer has no such topic: as if it had been forgotten
	until(t, "the end of what is known of the topic", func() bool {
		_, unknown := p.meta.Partitions("orders")
		_, limited := p.meta.MaxMessageBytes("orders")
		return unknown != nil && !limited
	})
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	p.placed(t, "orders")
	if limit := p.topics["orders"].limit.Load(); limit > 1000 {
		t.Errorf("the topic that came back has batches of %d bytes", limit)
	}
}

// A topic with unacked events is not silent, however old it is: forgetting it would lose events.
func TestTopicWithEventsIsNotForgotten(t *testing.T) {
	for _, where := range []string{"pass", "waiting", "lane"} {
		t.Run(where, func(t *testing.T) {
			p, c := offline(t, config(t, nil), newLedger())
			if where != "waiting" {
				c.create("orders", 1)
			}
			publish(t, p, event("orders", "k", 1), 1)
			p.Flush(false)
			to := p.topics["orders"]
			if where != "waiting" {
				p.placed(t, "orders")
			}
			if where == "pass" {
				p.takeQueued("orders")
				publish(t, p, event("orders", "k", 2), 2)
			}
			p.forget([]*topic{to})
			if p.topics["orders"] != to || to.ended {
				t.Error("the topic was forgotten")
			}
		})
	}
}

// The number of topics that rows can make up is limited, and the error names the limit.
func TestTooManyTopics(t *testing.T) {
	p, _ := offline(t, config(t, nil), newLedger())
	for i := range maxTopics {
		p.topics[fmt.Sprint("t", i)] = &topic{}
	}
	ev := event("one-more", "k", 1)
	_, err := p.Publish(ev, 1)
	var bad *record.BadEvent
	if !errors.As(err, &bad) || bad.Code != "too_many_topics" || !strings.Contains(err.Error(), "outbox.topic") {
		t.Fatalf("error %v", err)
	}
	ev = event("t7", "k", 1)
	p.topics["t7"].name = "t7"
	if _, err := p.Publish(ev, 1); err != nil {
		t.Errorf("a topic that is known: %v", err)
	}
}

// A refresh does not create a deleted topic, even if brokers may create topics.
func TestLooksCreateNoTopic(t *testing.T) {
	b := newScripted(t, "orders", 1)
	acks := newLedger()
	cfg := config(t, []string{b.Addr()})
	cfg.AutoCreateTopics = true
	p := open(t, cfg, acks)
	p.refreshEvery = 10 * time.Millisecond
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	acks.wait(t, 1, 0)
	creating := func() (n int) {
		for _, r := range b.History() {
			if req, ok := r.Request.(*sarama.MetadataRequest); ok && req.AllowAutoTopicCreation {
				n++
			}
		}
		return n
	}
	first := creating()
	if first == 0 {
		t.Error("the topic of an event was not to be created")
	}
	refreshes := asked[*sarama.MetadataRequest](b)
	until(t, "five refreshes", func() bool { return asked[*sarama.MetadataRequest](b) > refreshes+5 })
	if n := creating(); n != first {
		t.Errorf("%d refreshes could have created the topic", n-first)
	}
}
