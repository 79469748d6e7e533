package schema

import (
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	ev := &Event{}
	ev.Values[AggregateType], ev.Values[Type], ev.Values[AggregateID] = []byte("orders"), []byte("OrderPlaced"), []byte("")
	for in, want := range map[string]string{
		"outbox.event.{aggregatetype}":   "outbox.event.orders",
		"{aggregatetype}":                "orders",
		"{aggregatetype}{type}":          "ordersOrderPlaced",
		"{aggregatetype}.{type}-v_1":     "orders.OrderPlaced-v_1",
		"all-events":                     "all-events",
		"a.{aggregateid}.b":              "a..b",
		"{type}{aggregatetype}.{type}.x": "OrderPlacedorders.OrderPlaced.x",
	} {
		template, err := ParseTemplate(in, DefaultMapping())
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		got, err := template.Append([]byte("> "), ev)
		if err != nil || string(got) != "> "+want || template.String() != in {
			t.Errorf("%s gives %q, %v, want %q", template, got, err, want)
		}
	}
}

func TestTemplateWithoutValues(t *testing.T) {
	template, err := ParseTemplate("{aggregatetype}.{type}.{aggregateid}", DefaultMapping())
	if err != nil {
		t.Fatal(err)
	}
	ev := &Event{}
	ev.Values[AggregateType], ev.Values[AggregateID] = []byte("orders"), []byte("1")
	for _, empty := range [][]byte{nil, {}} { // for a NULL type, too, the aggregatetype is used
		ev.Values[Type] = empty
		if got, err := template.Append(nil, ev); err != nil || string(got) != "orders.orders.1" {
			t.Errorf("with an empty type: %q, %v", got, err)
		}
	}
	ev.Values[AggregateID] = nil
	if _, err := template.Append(nil, ev); err == nil || !strings.Contains(err.Error(), "column aggregateid is NULL") {
		t.Errorf("with a NULL: %v", err)
	}
}

func TestParseTemplateRefuses(t *testing.T) {
	for in, says := range map[string]string{
		"":                       "empty",
		".":                      "no topic can have that name",
		"..":                     "no topic can have that name",
		strings.Repeat("x", 250): "1 to 249 characters",
		"a.{agregatetype}":       "did you mean {aggregatetype}?",
		"a.{Type}":               "did you mean {type}?",
		"a.{customer_number}":    "outbox.columns",
		"a.{}":                   "outbox.columns",
		"a.{topic}":              "outbox.columns.topic",
		"a.{created_at}":         "is a time",
		"a.{timestamp}":          "is a time",
		"a.{type":                "not closed",
		"a.{type}}":              `"}"`,
		"a b":                    `" "`,
		"${routedByValue}":       `"$"`,
		"ümlaut.{type}":          "cannot stand",
		"a.{aggregatetype}/{id":  `"/"`,
	} {
		if got, err := ParseTemplate(in, DefaultMapping()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q gives %v, %v, want an error with %q", in, got, err, says)
		}
	}
}

func TestCheckTemplate(t *testing.T) {
	m := explicit(DefaultMapping(), Partition, "shard")
	template, err := ParseTemplate("x.{aggregateid}.{headers}.{partition}", m)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := m.Plan(DefaultTable, append(with("aggregateid", 17, "bytea")[:5], TableColumn{"shard", 23, "integer"}))
	if err != nil {
		t.Fatal(err)
	}
	err = plan.CheckTemplate(template)
	if err == nil || !strings.Contains(err.Error(), "{aggregateid} is bytea") || !strings.Contains(err.Error(), "no column for {headers}") ||
		strings.Contains(err.Error(), "partition}") && strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("a key of type bytea and absent headers: %v", err)
	}
	plan, err = m.Plan(DefaultTable, with("shard", 23, "integer"))
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.CheckTemplate(template); err != nil {
		t.Errorf("a table that has them all: %v", err)
	}
}

func TestTemplateAllocatesNothing(t *testing.T) {
	template, err := ParseTemplate("outbox.event.{aggregatetype}", DefaultMapping())
	if err != nil {
		t.Fatal(err)
	}
	ev := &Event{}
	ev.Values[AggregateType] = []byte("orders")
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { buf, _ = template.Append(buf[:0], ev) }); n != 0 {
		t.Errorf("Append allocates %v times", n)
	}
}
