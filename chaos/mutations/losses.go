package mutations

// losses are ways to lose committed events.
var losses = []Mutation{
	{
		Mode:     "L1",
		Prevents: "the confirmed position is the end of a commit as the server gave it, and nothing is added to it",
		Guard:    "the end of a commit, taken as it came; instead the length of the message is added",
		File:     "relay/session_read.go",
		Old:      "\t\ts.pass.Seal(c.EndLSN)\n",
		New:      "\t\tend := c.EndLSN\n\t\tfor range msg {\n\t\t\tend++\n\t\t}\n\t\ts.pass.Seal(end)\n",
		Module:   ".", Package: "./relay", Test: "TestNoConfirmedPositionIsComputed",
	},
	{
		Mode:     "L1",
		Prevents: "a status says the confirmed position itself",
		Guard:    "the position in a status, told as it is; instead one is added",
		File:     "relay/replication/confirmer.go",
		Old:      "\tlsn := c.position()\n\tc.buf =",
		New:      "\tlsn := c.position()\n\tif lsn != 0 {\n\t\tlsn++\n\t}\n\tc.buf =",
		Module:   ".", Package: "./relay", Test: "TestNoConfirmedPositionIsComputed",
	},
	{
		Mode:     "L1",
		Prevents: "the position of a keepalive is taken as it is",
		Guard:    "a keepalive's position, as it came; instead one is added",
		File:     "relay/session_read.go",
		Old:      "\ts.tracker.Idle(m.WALEnd)\n",
		New:      "\ts.tracker.Idle(m.WALEnd + 1)\n",
		Module:   ".", Package: "./relay", Test: "TestNoConfirmedPositionIsComputed",
	},
	{
		Mode:     "L2",
		Prevents: "a transaction that was open while a later one was delivered arrives after a restart",
		Guard:    "no row is judged by its WAL position; instead those below the furthest one seen are skipped",
		File:     "relay/replication/message.go",
		Old:      "func parseCopyData(b []byte) (Message, error) {\n",
		New: `var furthest uint64 // row that was seen

func parseCopyData(b []byte) (Message, error) {
	if len(b) > 25 && b[0] == 'w' && b[25] == 'I' {
		at := binary.BigEndian.Uint64(b[1:])
		if at < furthest {
			return Message{}, nil
		}
		furthest = at
	}
`,
		Module: ".", Package: "./relay", Test: "TestInterleavedTransactionSurvivesARestart",
	},
	{
		Mode:     "L3",
		Prevents: "every row of a COPY is an event",
		Guard:    "no row is judged by its WAL position; instead a second one at the same position is skipped",
		File:     "relay/replication/message.go",
		Old:      "func parseCopyData(b []byte) (Message, error) {\n",
		New: `var before uint64 // where the last row stood

func parseCopyData(b []byte) (Message, error) {
	if len(b) > 25 && b[0] == 'w' && b[25] == 'I' {
		at := binary.BigEndian.Uint64(b[1:])
		if at == before {
			return Message{}, nil
		}
		before = at
	}
`,
		Module: ".", Package: "./relay", Test: "TestRowsOfOneCopyAreNotOnePosition",
	},
	{
		Mode:     "L3",
		Prevents: "every row of a COPY has a position of its own, by which consumers tell it from the others",
		Guard:    "the number of a row in its transaction",
		File:     "decoder/insert.go",
		Old:      "\td.index++\n",
		New:      "",
		Module:   ".", Package: "./relay", Test: "TestRowsOfOneCopyAreNotOnePosition",
	},
	{
		Mode:     "L4",
		Prevents: "a keepalive confirms nothing while an event is on its way or a transaction is open",
		Guard:    "the window has to be empty for an idle position to count",
		File:     "relay/inflight/window.go",
		Old:      "\tif w.empty() {\n\t\tw.confirm(walEnd, 0)\n\t}\n",
		New:      "\tw.confirm(walEnd, 0)\n",
		Module:   ".", Package: "./relay", Test: "TestKeepaliveNeverConfirmsWhatIsPending",
	},
	{
		Mode:     "L4",
		Prevents: "a keepalive does not overtake the events that came in the same read",
		Guard:    "the window learns of what was read before a keepalive is looked at",
		File:     "relay/session_read.go",
		Old:      "\ts.handOver(s.stream.Flowing())\n\ts.tracker.Idle(m.WALEnd)\n",
		New:      "\ts.tracker.Idle(m.WALEnd)\n",
		Module:   ".", Package: "./relay", Test: "TestKeepaliveNeverConfirmsWhatIsPending",
	},
	{
		Mode:     "L5",
		Prevents: "the slot never stands beyond what Kafka has acknowledged",
		Guard:    "a commit alone confirms nothing; instead it confirms what was received",
		File:     "relay/inflight/window.go",
		Old:      "\tlast.end = end\n",
		New:      "\tlast.end = end\n\tw.confirm(end, 0)\n",
		Module:   ".", Package: "./relay", Test: "TestSlotNeverStandsBeyondAcks",
	},
	{
		Mode:     "L6",
		Prevents: "a batch is sent until it is in the log, whatever the error",
		Guard:    "a failed batch stays the head of its lane; instead it is dropped and the lane goes on",
		File:     "sink/lane/settle.go",
		Old:      "\t\tl.fail(o.Err)\n\t\tl.sender = nil\n\t\treturn Resend, nil\n",
		New:      "\t\tl.fail(o.Err)\n\t\tl.pop()\n\t\treturn SendNext, nil\n",
		Module:   ".", Package: "./sink/lane", Test: "TestNoErrorDropsABatch",
	},
	{
		Mode:     "L6",
		Prevents: "it stays however often it fails",
		Guard:    "no number of failures ends the attempts; instead a thousand do",
		File:     "sink/lane/settle.go",
		Old:      "\t\tl.fail(o.Err)\n\t\tl.sender = nil\n\t\treturn Resend, nil\n",
		New:      "\t\tl.fail(o.Err)\n\t\tl.sender = nil\n\t\tif l.failures > 1000 {\n\t\t\tl.pop()\n\t\t\treturn Empty, head\n\t\t}\n\t\treturn Resend, nil\n",
		Module:   ".", Package: "./sink/lane", Test: "TestNoErrorDropsABatch",
	},
	{
		Mode:     "L6",
		Prevents: "the confirmed position is the end of an unbroken run of acknowledged transactions",
		Guard:    "an acknowledgement counts in its order only; instead it confirms its own transaction",
		File:     "relay/inflight/window.go",
		Old:      "\tif done {\n\t\tw.settle()\n\t}\n\treturn commit, done\n",
		New:      "\tif done {\n\t\tw.confirm(e.end, commit)\n\t\tw.settle()\n\t}\n\treturn commit, done\n",
		Module:   ".", Package: "./relay/inflight", Test: "TestNoAckConfirmsPastAnUnackedEvent",
	},
	{
		Mode:     "L7",
		Prevents: "a large transaction arrives without what was undone of it, and with all the rest",
		Guard:    "protocol version 1, in which only committed rows come; instead transactions are streamed as they are written",
		File:     "relay/replication/start.go",
		Old:      `options := "proto_version '1', publication_names "`,
		New:      `options := "proto_version '2', streaming 'on', publication_names "`,
		Module:   "e2e", Package: ".", Test: "TestUndoneSavepointNeverCostsItsTransaction",
	},
	{
		Mode:     "L8",
		Prevents: "a transaction that was read by half is not confirmed by a stop",
		Guard:    "only its commit ends a transaction; instead the stop of the relay does",
		File:     "relay/session.go",
		Old:      "\tlsn, _ := s.tracker.Confirmed()\n",
		New:      "\tlsn, _ := s.tracker.Confirmed()\n\tif s.leaving.Err() != nil {\n\t\tfor tx := range uint64(1000) {\n\t\t\tlsn = max(lsn, s.tracker.Beyond(tx))\n\t\t}\n\t}\n",
		Module:   ".", Package: "./relay", Test: "TestStopInsideATransactionConfirmsNothingOfIt",
	},
	{
		Mode:     "L9",
		Prevents: "a message that walpost does not know stops it with a reason",
		Guard:    "the error of an unknown message",
		File:     "decoder/decoder.go",
		Old:      "\t\terr = fmt.Errorf(\"type %q is not one of protocol 1 without streaming\", msg[0])\n",
		New:      "",
		Module:   ".", Package: "./decoder", Test: "TestWhatCannotBeDecodedIsAnError",
	},
	{
		Mode:     "L9",
		Prevents: "no commit is decoded that would cover a row which was not",
		Guard:    "the decoder's first error stays",
		File:     "decoder/decoder.go",
		Old:      "\td.err = e\n",
		New:      "",
		Module:   ".", Package: "./decoder", Test: "TestNothingIsDecodedBehindAnError",
	},
	{
		Mode:     "L9",
		Prevents: "a row that cannot be decoded stops the relay with a reason, once all before it is confirmed",
		Guard:    "an error of the decoder's ends the session; instead it is passed over",
		File:     "relay/session_read.go",
		Old:      "\t\ts.tracker.Rejected(s.pass.AtHand(), s.unfit(err))\n\t\treturn errRefused\n",
		New:      "\t\treturn nil\n",
		Module:   ".", Package: "./relay", Test: "TestUndecodableRowIsNeverSkipped",
	},
	{
		Mode:     "L9",
		Prevents: "an event that can never be a record stops the relay with a reason",
		Guard:    "an event that the sink refuses ends the session; instead it is passed over",
		File:     "relay/session_read.go",
		Old:      "\t\ts.tracker.Rejected(tx, err)\n\t\treturn errRefused\n",
		New:      "\t\ts.tracker.HandOver(&s.pass)\n\t\ts.tracker.Acked([]schema.Run{{Tx: tx, Rows: 1}}, 0)\n\t\treturn nil\n",
		Module:   ".", Package: "./relay", Test: "TestRefusedEventIsNeverSkipped",
	},
	{
		Mode:     "L9",
		Prevents: "an event that the brokers refuse for good is reported, and nothing behind it leaves",
		Guard:    "a lane stops behind a refused event; instead it takes the event for delivered",
		File:     "sink/lane/settle.go",
		Old:      "\t\t\tl.state = stopped\n\t\t\treturn Reject, head\n",
		New:      "\t\t\tl.pop()\n\t\t\treturn SendNext, head\n",
		Module:   ".", Package: "./sink/lane", Test: "TestLaneStopsBehindARejectedEvent",
	},
	{
		Mode:     "L10",
		Prevents: "a slot that is gone stops the relay, which says what is in no slot",
		Guard:    "a slot that was streamed from is not made again",
		File:     "relay/postgres/slot.go",
		Old:      "\tcase state != nil && state.Phase == PhaseStreaming:\n\t\treturn src.missingSlot(state)\n",
		New:      "",
		Module:   ".", Package: "./relay", Test: "TestMissingSlotIsNeverMadeAnewSilently",
	},
	{
		Mode:     "L10",
		Prevents: "a slot that stands ahead of where walpost left it stops the relay, which says so",
		Guard:    "the slot's position is compared with what was recorded at a clean stop",
		File:     "relay/postgres/slot.go",
		Old:      "\tcase s.ahead && !s.Active: //",
		New:      "\tcase false: //",
		Module:   ".", Package: "./relay", Test: "TestMovedSlotIsNeverStreamedSilently",
	},
	{
		Mode:     "L11",
		Prevents: "every produce request asks for the acknowledgement of all in-sync replicas",
		Guard:    "acks=all in the request; instead the leader's is enough",
		File:     "sink/wire/splice.go",
		Old:      "r := &sarama.ProduceRequest{RequiredAcks: sarama.WaitForAll,",
		New:      "r := &sarama.ProduceRequest{RequiredAcks: sarama.WaitForLocal,",
		Module:   ".", Package: "./sink/wire", Test: "TestEveryProduceWaitsForAllReplicas",
	},
	{
		Mode:     "L12",
		Prevents: "a cluster that takes the place of another gets no batch under a producer id of that one",
		Guard:    "the cluster of a lane's producer id is compared with the connection's",
		File:     "sink/lane/send.go",
		Old:      "\tother := l.id.Cluster != cluster\n",
		New:      "\tother := false\n",
		Module:   ".", Package: "./sink", Test: "TestClusterIsReplaced",
	},
	{
		Mode:     "L12",
		Prevents: "a topic that comes back after it was forgotten gets no sequence a second time",
		Guard:    "lanes that are opened after a topic was forgotten begin with another producer id",
		File:     "sink/topic_forget.go",
		Old:      "\t\tp.ids.spend()\n",
		New:      "",
		Module:   ".", Package: "./sink", Test: "TestSilentTopicIsForgotten",
	},
	{
		Mode:     "L12",
		Prevents: "a sequence that the broker has seen of somebody else is no success",
		Guard:    "a duplicate sequence is success only if an earlier attempt may have arrived",
		File:     "sink/lane/settle.go",
		Old:      "\t\tif v = kafkaerror.Lost; l.unclear {\n",
		New:      "\t\tif v = kafkaerror.Lost; true {\n",
		Module:   ".", Package: "./sink/lane", Test: "TestSettle",
	},
}
