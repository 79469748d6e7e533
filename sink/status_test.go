package sink

import (
	"reflect"
	"testing"
	"time"
)

func TestStatus(t *testing.T) {
	k, err := NewKafka(config(t, []string{"127.0.0.1:1"}))
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Status(); !reflect.DeepEqual(got, Status{}) {
		t.Errorf("at the start: %+v", got)
	}
	for topic, events := range map[string]float64{"a": 3, "b": 4, "c": 0} {
		published, _ := k.metrics.topic(topic)
		published.Add(events)
	}
	k.metrics.blocked("a", time.Second)
	k.metrics.blocked("c", 3*time.Second)
	want := Status{Published: 7, Blocked: []BlockedTopic{{"c", 3 * time.Second}, {"a", time.Second}}}
	if got := k.Status(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
