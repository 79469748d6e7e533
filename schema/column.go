package schema

// columnNames are the configuration keys below outbox.columns. The first five are also Debezium's column names.
var columnNames = [NumColumns]string{
	ID:            "id",
	AggregateType: "aggregatetype",
	AggregateID:   "aggregateid",
	Type:          "type",
	Payload:       "payload",
	Headers:       "headers",
	CreatedAt:     "created_at",
	Timestamp:     "timestamp",
	Topic:         "topic",
	Partition:     "partition",
}

// String returns the key that names the column in the configuration, below outbox.columns.
func (c Column) String() string {
	if c < NumColumns {
		return columnNames[c]
	}
	return "no column"
}

// Required reports whether an outbox must have this column.
func (c Column) Required() bool { return c <= Payload }

// ParseColumn returns the column that a configuration key names.
func ParseColumn(key string) (Column, bool) {
	for c, name := range columnNames {
		if name == key {
			return Column(c), true
		}
	}
	return 0, false
}

// TypeOrAggregate returns the event's type, or its aggregatetype if the type is empty or NULL.
func (ev *Event) TypeOrAggregate() []byte {
	if len(ev.Values[Type]) > 0 {
		return ev.Values[Type]
	}
	return ev.Values[AggregateType]
}
