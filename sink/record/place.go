package record

import (
	"fmt"
	"strconv"

	"walpost/schema"
	"walpost/sink/recordbatch"
)

// Place is the partition for an event, or what chooses it.
type Place struct {
	Partition int32  // the number in the mapped column; -1: a [Partitioner] chooses
	Key       []byte // the input of the partitioner: the event's key, or its id if it has none, so that a replay goes to the same partition
}

// PlaceOf returns where ev goes. An error means that ev can never be a record.
func PlaceOf(ev *schema.Event) (Place, error) {
	if v := ev.Values[schema.Partition]; v != nil {
		n, err := strconv.ParseInt(string(v), 10, 32)
		if err != nil || n < 0 {
			return Place{}, fmt.Errorf("column partition: %s is not a partition number", v)
		}
		return Place{Partition: int32(n)}, nil
	}
	if key := ev.Values[schema.AggregateID]; key != nil {
		return Place{Partition: -1, Key: key}, nil
	}
	return Place{Partition: -1, Key: ev.Values[schema.ID]}, nil
}

// PartitionKey returns the partitioner's input for an event that is already a record: its key, or its id if it has none.
func PartitionKey(r recordbatch.Raw) []byte {
	rec := r.Record()
	if rec.Key == nil {
		return rec.Headers[0].Value
	}
	return rec.Key
}
