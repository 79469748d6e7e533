package mutations

// orders are ways to deliver the events of a key out of order.
var orders = []Mutation{
	{
		Mode:     "O1",
		Prevents: "one partition has only one batch in flight",
		Guard:    "a lane with a batch in flight gives out no other batch",
		File:     "sink/lane/send.go",
		Old:      "\tif l.sender != s || l.state != queued {\n",
		New:      "\tif l.sender != s {\n",
		Module:   ".", Package: "./sink/lane", Test: "TestNothingOvertakesAFailedBatch",
	},
	{
		Mode:     "O1",
		Prevents: "a batch that failed is sent again before any later batch",
		Guard:    "a failed batch stays at the head of its lane; without the guard, it goes behind the others",
		File:     "sink/lane/settle.go",
		Old:      "\t\tl.fail(o.Err)\n\t\tl.sender = nil\n\t\treturn Resend, nil\n",
		New:      "\t\tl.fail(o.Err)\n\t\tl.pop()\n\t\tl.full = append(l.full, head)\n\t\tl.sender = nil\n\t\treturn Resend, nil\n",
		Module:   ".", Package: "./sink/lane", Test: "TestNothingOvertakesAFailedBatch",
	},
	{
		Mode:     "O2",
		Prevents: "a key goes to the partition that Java's producers choose",
		Guard:    "the sign bit of the hash is cleared, as Kafka does; without the guard, the absolute value is used",
		File:     "sink/record/partitioner.go",
		Old:      "\t\treturn int32(murmur2(key)&0x7fffffff) % count\n",
		New:      "\t\treturn max(int32(murmur2(key))%count, -(int32(murmur2(key)) % count))\n",
		Module:   ".", Package: "./sink/record", Test: "TestKeysGoWhereJavaProducersPutThem",
	},
	{
		Mode:     "O2",
		Prevents: "all events of a key go to one partition",
		Guard:    "the key chooses the partition; without the guard, the event's id does",
		File:     "sink/record/place.go",
		Old:      "\t\treturn Place{Partition: -1, Key: key}, nil\n",
		New:      "\t\treturn Place{Partition: -1, Key: append(key[:0:0], ev.Values[schema.ID]...)}, nil\n",
		Module:   ".", Package: "./sink/record", Test: "TestEventsOfOneKeyGoToOnePartition",
	},
	{
		Mode:     "O2",
		Prevents: "a relay whose configuration sets no partitioner uses that of Java's producers",
		Guard:    "the default of kafka.partitioner is murmur2; without the guard, it is librdkafka's hash",
		File:     "cmd/walpost/internal/config/config.go",
		Old:      "Partitioner:      \"murmur2\",\n",
		New:      "Partitioner:      \"crc32\",\n",
		Module:   ".", Package: "./cmd/walpost/internal/config", Test: "TestDefaultPartitionerIsJavas",
	},
}
