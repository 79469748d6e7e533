package mutations

// repeats are ways to send events again that need not come again, or so that
// consumers do not know them.
var repeats = []Mutation{
	{
		Mode:     "D1",
		Prevents: "progress is confirmed within a tenth of a second, also while more comes all the time",
		Guard:    "progress is a reason for a status; instead only the timer and the server's questions are",
		File:     "relay/confirm.go",
		Old:      "(asked || c.position() != c.last)",
		New:      "asked",
		Module:   ".", Package: "./relay", Test: "TestProgressIsConfirmedAtOnce",
	},
	{
		Mode:     "D2",
		Prevents: "after a clean restart nothing comes again",
		Guard:    "the end of the commit record is confirmed; instead its start is",
		File:     "relay/read.go",
		Old:      "\t\ts.pass.seal(c.EndLSN)\n",
		New:      "\t\ts.pass.seal(c.LSN)\n",
		Module:   ".", Package: "./relay", Test: "TestNothingComesAgainAfterACleanRestart",
	},
	{
		Mode:     "D2",
		Prevents: "what is acknowledged while the relay leaves is confirmed before it goes",
		Guard:    "a last status at the end of a session",
		File:     "relay/confirm.go",
		Old:      "\tif c.status(false) == nil {\n\t\tc.send([]byte{'c', 0, 0, 0, 4}, sendLimit)\n\t}\n",
		New:      "\tc.send([]byte{'c', 0, 0, 0, 4}, sendLimit)\n",
		Module:   ".", Package: "./relay", Test: "TestLastAcksAreConfirmedBeforeTheEnd",
	},
	{
		Mode:     "D3",
		Prevents: "a batch has a producer id, by which brokers know it when it comes again",
		Guard:    "the producer id in a batch; instead there is none",
		File:     "sink/lane.go",
		Old:      "recordbatch.Stamp{ProducerID: l.id.producer, Epoch: l.id.epoch, Sequence: l.numbered[0].seq}",
		New:      "recordbatch.Stamp{ProducerID: -1, Epoch: -1, Sequence: -1}",
		Module:   ".", Package: "./sink", Test: "TestRetryIsNoDuplicate",
	},
	{
		Mode:     "D3",
		Prevents: "a retry has the sequence of the first attempt",
		Guard:    "the same bytes are sent again; instead the batch is numbered and sealed anew",
		File:     "sink/lane.go",
		Old:      "\tif head.Wire() == nil {\n",
		New:      "\tif l.failures > 0 {\n\t\thead.Restamp(recordbatch.Stamp{ProducerID: stamp.ProducerID, Epoch: stamp.Epoch, Sequence: l.id.advance(head.Count())})\n\t}\n\tif head.Wire() == nil {\n",
		Module:   ".", Package: "./sink", Test: "TestRetryIsNoDuplicate",
	},
	{
		Mode:     "D4",
		Prevents: "an event's id is the row's, in every delivery",
		Guard:    "the id header is the id column; instead it is made up when the event is sent",
		File:     "sink/record.go",
		Old:      "recordbatch.Header{Name: nameID, Value: ev.Values[schema.ID]}",
		New:      "recordbatch.Header{Name: nameID, Value: []byte(c.now.String())}",
		Module:   ".", Package: "./sink", Test: "TestEventKeepsItsIDInEveryDelivery",
	},
	{
		Mode:     "D4",
		Prevents: "an event that comes again has the position that it had",
		Guard:    "rows are counted from the beginning of their transaction; instead from that of the session",
		File:     "decoder/decoder.go",
		Old:      "d.open, d.index, d.begin = true, 0, b",
		New:      "d.open, d.begin = true, b",
		Module:   ".", Package: "./relay", Test: "TestRedeliveredEventsKeepTheirPositions",
	},
}
