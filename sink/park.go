package sink

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"walpost/internal/reason"
	"walpost/schema"
	"walpost/sink/kafkaerror"
	"walpost/sink/lane"
	"walpost/sink/metadata"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// Parking takes the events that are not sent: those that can never be records, and those that wait behind them. An [Acks] that also has
// these methods makes the sink park such events. Otherwise the sink rejects them and stops their lane. The methods may be called from any
// goroutine, with locks of the sink held. They do not block.
type Parking interface {
	// Parks reports whether events that can never be records are parked. Otherwise they are rejected, unless they have the verdict Settle.
	Parks() bool
	// Refused notes that an event can never be a record. It reports whether that counts as a refusal. It does not if the event has a dead
	// letter, or was refused before by this process, and is only delivered again.
	Refused(at schema.Position, tx uint64) bool
	// Sifting reports whether an event may have another verdict than Send.
	Sifting() bool
	// Verdict returns what happens to an event of this topic and key. A key that is nil has no other events.
	Verdict(topic string, key []byte, at schema.Position, tx uint64) schema.Verdict
	// Block makes all events of a topic wait: from now on they have the verdict Wait, except those of parked keys. code and detail say why the
	// topic takes no records, and cure what a person can do.
	Block(topic string, code reason.Code, detail, cure string)
	// Absorb makes the events of these keys wait for their topic, and not for a person: the topic has refused all of them.
	Absorb(topic string, keys [][]byte)
	// Blocked reports whether the events of a topic wait.
	Blocked(topic string) bool
	// Stalled notes that an attempt to send events of a topic has failed; named says that the error is a condition of the topic. It reports
	// whether events that wait for another attempt go through the sieve again.
	Stalled(topic string, named bool) bool
	// Park takes events, in order. It acks each one when it is parked. From now on, later events of their topics and keys have the verdict
	// Park.
	Park(letters []*schema.DeadLetter)
}

// Replay publishes dead letters again, in order. Each one is acked, or parked again, under its Tx. They do not count as bytes that the sink
// holds. They go behind everything that was published before, or with first, before what has not been sent yet. Any goroutine may call it.
func (p *Producer) Replay(letters []*schema.DeadLetter, first bool) {
	var batch []*schema.DeadLetter
	for i, l := range letters {
		if batch = append(batch, l); i+1 == len(letters) || letters[i+1].Topic != l.Topic {
			p.replayTopic(l.Topic, batch, first)
			batch = nil
		}
	}
}

// replayTopic publishes dead letters of one topic.
func (p *Producer) replayTopic(name string, letters []*schema.DeadLetter, first bool) {
	var good []*schema.DeadLetter
	refused := record.CheckTopic([]byte(name))
	for _, l := range letters {
		if refused == nil && l.Timestamp != schema.NoTime {
			good = append(good, l)
			continue
		}
		back := *l
		back.Head, back.Code, back.Detail = true, "", ""    // without a timestamp it never was a record, and its row says why
		if refused != nil && l.Timestamp != schema.NoTime { // somebody has edited the topic
			back.Code, back.Detail = kafkaerror.Reason(refused), refused.Error()
		}
		p.countRefusal(l.Topic, cmp.Or(back.Code, l.Code), lane.Origin{Tx: l.Tx, At: l.At})
		p.park([]*schema.DeadLetter{&back})
	}
	if len(good) == 0 {
		return
	}
	for !p.topicNamed(name).replay(p, good, first) { // it has just been forgotten
	}
}

// replay hands dead letters to their lanes, or adds them to the events that wait for the topic's partitions. It returns false if the topic was
// forgotten.
func (t *topic) replay(p *Producer, letters []*schema.DeadLetter, first bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	if letters = t.putReplays(p, letters, first); len(letters) == 0 {
		return true
	}
	limit := int(t.limit.Load())
	var u *unplaced
	for _, l := range letters {
		rec := recordOf(l)
		size := rec.Size()
		if u == nil || u.Len()+size+recordbatch.Overhead > limit {
			u = &unplaced{}
			u.HandedOver(time.Now())
			t.waiting = append(t.waiting, u)
		}
		u.Append(&rec, size, p.originOf(l))
		u.explicit = append(u.explicit, l.Partition)
		u.Hold(0)
	}
	t.reconsider(p)
	return true
}

// originOf returns the origin of a dead letter.
func (p *Producer) originOf(l *schema.DeadLetter) lane.Origin {
	return lane.Origin{Tx: l.Tx, At: l.At, Type: p.typeBeside(l.Type)}
}

// typeBeside returns an event's type if its record does not have it.
func (p *Producer) typeBeside(typ []byte) []byte {
	if p.cfg.Record.Profile.HasType() {
		return nil
	}
	return typ
}

// recordOf returns the record of a dead letter. If a person gave it back, it has a header that says so.
func recordOf(l *schema.DeadLetter) recordbatch.Record {
	rec := recordbatch.Record{Timestamp: l.Timestamp, Key: l.Key, Value: l.Value}
	for h := range l.EachHeader() {
		rec.Headers = append(rec.Headers, recordbatch.Header{Name: recordbatch.EncodeName(string(h.Name)), Value: h.Value})
	}
	if l.Retried {
		rec.Headers = append(rec.Headers, recordbatch.Header{Name: replayHeader, Value: []byte("retry")})
	}
	return rec
}

// Resume sends events of one topic and key, in order, before all events of the key that are not sent yet, with the header walpost_replay. like
// is one of them. Each one is acked under its Tx, and counts until then for the bytes that the sink holds. Resume calls flow, which returns them
// all, at a moment at which no event of the key gets a verdict. If it cannot do so now, or if flow returns false, it does nothing and returns
// false. flow does so if its argument does: all of them have to fit into one lane. Any goroutine may call Resume.
func (p *Producer) Resume(like *schema.DeadLetter, flow func(fit func([]*schema.DeadLetter) bool) ([]*schema.DeadLetter, bool)) bool {
	t := p.topicNamed(like.Topic)
	t.mu.Lock()
	defer t.mu.Unlock()
	partitions := t.partitions.Load()
	if t.ended || partitions == nil || len(t.waiting) > 0 || t.missing.has(like.Key) {
		return false
	}
	n := p.partitionOf(like, len(*partitions))
	if int(n) >= len(*partitions) {
		return false
	}
	t.used.Store(time.Now().Unix())
	part := (*partitions)[n]
	put, route := part.lane.PutFirst(len(*partitions), func() ([]*lane.Batch, bool) {
		letters, flows := flow(func(letters []*schema.DeadLetter) bool {
			return !slices.ContainsFunc(letters, func(l *schema.DeadLetter) bool { return p.partitionOf(l, len(*partitions)) != n })
		})
		return t.batch(p, letters, true), flows
	})
	if route {
		p.route(part)
	}
	return put
}

// Ready returns nil if a topic's partitions are known, and otherwise why not, as an error with a reason code. Then the producer goes on asking
// for them. Replay refuses what is for a topic that no broker can have. Any goroutine may call it.
func (p *Producer) Ready(topic string) error {
	if record.CheckTopic([]byte(topic)) != nil {
		return nil
	}
	t := p.topicNamed(topic)
	t.used.Store(time.Now().Unix())
	if t.partitions.Load() != nil {
		return nil
	}
	err := t.wait().Err
	if err == nil {
		return metadata.ErrNotAsked
	}
	return reason.With(waitReason(err), err)
}

// partitionOf returns the partition of a letter in a topic with this number of partitions: the one that its row names, else by its key.
func (p *Producer) partitionOf(l *schema.DeadLetter, partitions int) int32 {
	if l.Partition >= 0 {
		return l.Partition
	}
	return p.cfg.Partitioner.Partition(partitionKey(l), int32(partitions))
}

// putReplays gives letters to their lanes, and returns those whose lanes are not open. They hold no bytes. t.mu is held.
func (t *topic) putReplays(p *Producer, letters []*schema.DeadLetter, first bool) (rest []*schema.DeadLetter) {
	partitions := t.partitions.Load()
	if partitions == nil {
		return letters
	}
	of := map[int32][]*schema.DeadLetter{}
	behind := map[string]bool{} // keys of which an event waits for a partition that is not there
	for _, l := range letters {
		n := p.partitionOf(l, len(*partitions))
		if int(n) >= len(*partitions) || behind[string(l.Key)] || t.missing.has(l.Key) {
			if l.Key != nil {
				behind[string(l.Key)] = true
			}
			rest = append(rest, l)
			continue
		}
		of[n] = append(of[n], l)
	}
	t.used.Store(time.Now().Unix())
	if len(of) > 1 { // so that they share requests
		for _, s := range p.holdSenders(nil) {
			defer s.release(true, false)
		}
	}
	for n, some := range of {
		part := (*partitions)[n]
		batches := t.batch(p, some, false)
		put, route := false, false
		if first {
			put, route = part.lane.PutFirst(len(*partitions), func() ([]*lane.Batch, bool) { return batches, true })
		}
		if !put {
			put, route = part.lane.PutLast(batches, len(*partitions))
		}
		if !put {
			for _, b := range batches {
				p.pool.Put(b)
			}
			rest = append(rest, some...)
			continue
		}
		if route {
			p.route(part)
		}
	}
	return rest
}

// batch makes batches of letters.
func (t *topic) batch(p *Producer, letters []*schema.DeadLetter, hold bool) (batches []*lane.Batch) {
	limit := int(t.limit.Load())
	var b *lane.Batch
	held := 0
	for _, l := range letters {
		rec := recordOf(l)
		size := rec.Size()
		if b == nil || b.Len()+size+recordbatch.Overhead > limit {
			b, held = p.pool.Get(), 0
			b.HandedOver(time.Now())
			batches = append(batches, b)
		}
		b.Append(&rec, size, p.originOf(l))
		if l.Partition >= 0 {
			b.MarkNamed()
		}
		if hold {
			held += l.Held
		}
		b.Hold(held)
	}
	return batches
}

// partitionKey returns what a letter's partition depends on, as for its record.
func partitionKey(l *schema.DeadLetter) []byte {
	if l.Key != nil {
		return l.Key
	}
	for h := range l.EachHeader() {
		if string(h.Name) == "id" {
			return h.Value
		}
	}
	return nil
}

var replayHeader = recordbatch.EncodeName("walpost_replay")

// sieve is the sieve of one partition's lane.
type sieve struct {
	p         *Producer
	topic     string
	partition int32
}

// sieveOf returns the sieve of a partition, nil if the sink does not park.
func (p *Producer) sieveOf(topic string, partition int32) lane.Sieve {
	if p.parking == nil {
		return nil
	}
	return &sieve{p, topic, partition}
}

func (s *sieve) Parks() bool { return s.p.parking.Parks() }

func (s *sieve) Open() bool { return !s.p.parking.Sifting() }

func (s *sieve) Verdict(key []byte, from lane.Origin) schema.Verdict {
	return s.p.verdict(s.topic, key, from)
}

// verdict returns what happens to an event.
func (p *Producer) verdict(topic string, key []byte, from lane.Origin) schema.Verdict {
	if p.parking == nil {
		return schema.Send
	}
	return p.parking.Verdict(topic, key, from.At, from.Tx)
}

// Aside parks what waits, and acks what has a dead letter already.
func (s *sieve) Aside(b *lane.Batch, verdicts []schema.Verdict) {
	a := s.p.aside(s.topic)
	b.EachHeld(func(i int, r recordbatch.Raw, from lane.Origin, bytes int) {
		a.add(verdicts[i], r, from, bytes, namedPartition(b, i, s.partition))
	})
	s.p.pool.Put(b)
	a.report()
}

// aside collects events of a topic that are not sent.
type aside struct {
	p       *Producer
	topic   string
	letters []*schema.DeadLetter
	settled []schema.Run
	held    int // bytes of the settled ones
}

func (p *Producer) aside(topic string) *aside { return &aside{p: p, topic: topic} }

// add takes an event with another verdict than Send. partition is the one that its row names, -1: none.
func (a *aside) add(v schema.Verdict, r recordbatch.Raw, from lane.Origin, bytes int, partition int32) {
	if v == schema.Settle {
		a.settled = append(a.settled, schema.Run{Tx: from.Tx, Rows: 1})
		a.held += bytes
		return
	}
	l := letterOf(r, from, bytes)
	l.Topic, l.Partition, l.Blocked = a.topic, partition, v == schema.Wait
	a.letters = append(a.letters, l)
}

// report parks or acks what was added.
func (a *aside) report() {
	a.p.park(a.letters)
	if len(a.settled) > 0 {
		a.p.report(func() { a.p.acks.Acked(a.settled, a.held) })
	}
}

// namedPartition returns the partition of event i if its row names it, else -1.
func namedPartition(b *lane.Batch, i int, partition int32) int32 {
	if b.NamesPartition(i) {
		return partition
	}
	return -1
}

// parkHead parks an event that was refused.
func (p *Producer) parkHead(part *partition, head *lane.Batch, err error) {
	var letters []*schema.DeadLetter
	head.EachHeld(func(i int, r recordbatch.Raw, from lane.Origin, bytes int) {
		bad := record.BadRecord(part.topic.name, r, from.Type, err)
		l := p.refusedLetter(bad, r, from, bytes, namedPartition(head, i, part.index))
		if from.Tx&schema.ReplayTx == 0 && p.parking.Blocked(part.topic.name) { // since this request was sent
			if v := p.verdict(part.topic.name, r.Key(), from); v == schema.Wait || v == schema.Park {
				l.Head, l.Blocked = false, v == schema.Wait
			}
		}
		letters = append(letters, l)
	})
	p.pool.Put(head)
	var keys [][]byte
	for _, l := range letters {
		if l.Head && l.Tx&schema.ReplayTx == 0 { // what a person gives back may be bad, all of it
			keys = append(keys, l.Key)
		}
	}
	p.park(letters) // the parker owns them now
	for _, key := range keys {
		p.judgeRefusal(part.topic, key, err)
	}
}

// refusedLetter returns the dead letter of an event that is already a record, and counts it as failed.
func (p *Producer) refusedLetter(bad *record.BadEvent, r recordbatch.Raw, from lane.Origin, bytes int, partition int32) *schema.DeadLetter {
	l := letterOf(r, from, bytes)
	l.Topic, l.Partition = bad.Topic, partition
	l.Head, l.Code, l.Detail, l.Cure = true, bad.Code, bad.Err.Error(), kafkaerror.Cure(bad.Err)
	p.countRefusal(bad.Topic, bad.Code, from)
	return l
}

// letterOf returns the dead letter of a record, without topic and partition. It is a copy. Many letters may wait, so each one takes little
// besides its record.
func letterOf(r recordbatch.Raw, from lane.Origin, held int) *schema.DeadLetter {
	r = r.Clone()
	rec := r.Record()
	l := &schema.DeadLetter{At: from.At, Tx: from.Tx, Held: held, Key: rec.Key, Value: rec.Value, Timestamp: rec.Timestamp, Type: bytes.Clone(from.Type)}
	for _, h := range rec.Headers {
		switch h.Text() {
		case "id":
			l.EventID = h.Value
		case "ce_type":
			l.Type = h.Value
		}
	}
	l.Headers = func(yield func(schema.DeadHeader) bool) {
		for _, h := range r.Record().Headers {
			name := h.Text()
			if name != "walpost_replay" && !yield(schema.DeadHeader{Name: []byte(name), Value: h.Value}) { // that one is set again
				return
			}
		}
	}
	return l
}

// park hands letters on, unless the producer is closed.
func (p *Producer) park(letters []*schema.DeadLetter) {
	if len(letters) > 0 {
		p.report(func() { p.parking.Park(letters) })
	}
}

// rejects reports whether an event that can never be a record is rejected, and not parked.
func (p *Producer) rejects(topic string, key []byte, from lane.Origin) bool {
	return p.parking == nil || !p.parking.Parks() && p.verdict(topic, key, from) != schema.Settle
}

// refuse takes an event that can never be a record, as published in this pass. It returns the bytes that the event holds until it is
// parked, or bad if the sink does not park.
func (p *Producer) refuse(ev *schema.Event, tx uint64, topic string, bad *record.BadEvent) (int, error) {
	from := lane.Origin{Tx: tx, At: ev.Position}
	p.countRefusal(bad.Topic, bad.Code, from)
	if bad.Code == reason.TooManyTopics || p.rejects(topic, ev.Values[schema.AggregateID], from) {
		return 0, bad
	}
	l := &schema.DeadLetter{At: ev.Position, Tx: tx, Topic: topic, Partition: -1, Head: true, Code: bad.Code, Detail: bad.Detail(), Timestamp: schema.NoTime}
	for _, c := range []struct {
		to   *[]byte
		from schema.Column
	}{{&l.EventID, schema.ID}, {&l.Type, schema.Type}, {&l.Key, schema.AggregateID}, {&l.Value, schema.Payload}} {
		if v := ev.Values[c.from]; v != nil {
			*c.to = append(make([]byte, 0, len(v)), v...)
		}
	}
	l.Held = len(l.EventID) + len(l.Type) + len(l.Key) + len(l.Value) + letterOverhead
	p.refused = append(p.refused, l)
	return l.Held, nil
}

// letterOverhead is about what a dead letter takes besides its contents.
const letterOverhead = 300
