package kfaketest

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// faults are the faults of a run: how many of a hundred requests, or of a hundred partitions in requests, get each one.
type faults struct {
	neverArrives, arrivesLate, answerIsLost int
	before                                  int // a code before the append
	after                                   int // a code after it
	refuses                                 int // a code of a refusal, for a while
	moves                                   int // a partition gets another leader
	madeAnew                                int // the topic is deleted and re-created
	gaps                                    int // OUT_OF_ORDER_SEQUENCE_NUMBER and its like, without a cause
}

// Codes that do not change the log and that time or an operator cures, codes that come although the batch was appended, codes that refuse a
// record, and codes of brokers that disagree on the sequence.
var (
	codesBefore  = []int16{2, 3, 5, 6, 8, 9, 17, 19, 21, 29, 31, 35, 43, 44, 51, 58, 74, 75, 76, 89}
	codesAfter   = []int16{-1, 6, 7, 13, 20, 56} // 6: requests that wait for followers get it when the leader changes
	codesRefused = []int16{10, 18, 32, 87}
	codesLost    = []int16{45, 47, 49, 59, 90}
)

// refusal is the way in which an event is refused.
type refusal struct {
	code  int16
	named bool
}

// hasMet reports whether all of these have come.
func (b *broker) hasMet(list []string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !slices.ContainsFunc(list, func(what string) bool { return b.met[what] == 0 })
}

type way uint8

const (
	arrives way = iota
	neverArrives
	arrivesLate
	answerIsLost
)

func (b *broker) draw(percent int) bool { return !b.calm && b.rand.IntN(100) < percent }

func (b *broker) whole() way {
	switch {
	case b.draw(b.faults.neverArrives):
		b.met["never arrives"]++
		return neverArrives
	case b.draw(b.faults.arrivesLate):
		b.met["arrives late"]++
		return arrivesLate
	case b.draw(b.faults.answerIsLost):
		b.met["answer is lost"]++
		return answerIsLost
	}
	return arrives
}

// disturb changes the cluster between two requests.
func (b *broker) disturb() {
	if b.draw(b.faults.moves) {
		b.met["leader moved"]++
		p := b.rand.Int32N(partitions)
		if err := b.cluster.MoveTopicPartition(topic, p, (b.cluster.LeaderFor(topic, p)+1)%nodes); err != nil {
			b.t.Errorf("move partition %d: %v", p, err)
		}
	}
	if b.draw(b.faults.madeAnew) {
		b.met["topic re-created"]++
		if err := b.cluster.DeleteTopic(topic); err != nil {
			b.t.Errorf("delete the topic: %v", err)
		}
		if err := b.cluster.CreateTopic(topic, partitions, nil); err != nil {
			b.t.Errorf("create the topic: %v", err)
		}
		for p := range b.logs {
			b.since[p] = len(b.logs[p])
		}
	}
}

// refuses reports whether a batch is refused, and for which record; -1: none is named. A batch with an event that is always refused is
// refused, whatever else it has.
func (b *broker) refuses(records []byte) (code int16, record int32) {
	for i, event := range b.events(records) {
		if r, ok := b.poison[event]; ok {
			b.met[fmt.Sprintf("refused %d, named %t", r.code, r.named)]++
			if r.named {
				return r.code, int32(i)
			}
			return r.code, -1
		}
	}
	return 0, -1
}

// before draws a code that a partition answers instead of appending.
func (b *broker) before() int16 {
	switch {
	case b.draw(b.faults.before):
		return b.next(codesBefore)
	case b.draw(b.faults.gaps):
		return b.next(codesLost)
	}
	return 0
}

func (b *broker) after() int16 {
	if b.draw(b.faults.after) {
		return b.next(codesAfter)
	}
	return 0
}

// next takes the code of a list that came least often.
func (b *broker) next(codes []int16) int16 {
	code := slices.MinFunc(codes, func(a, c int16) int { return b.met[fmt.Sprint("code ", a)] - b.met[fmt.Sprint("code ", c)] })
	b.met[fmt.Sprint("code ", code)]++
	return code
}

// brief refuses a batch that could be appended, but only this time. The named record is random, too.
func (b *broker) brief(rp kmsg.ProduceRequestTopicPartition) (code int16, record int32) {
	if !b.draw(b.faults.refuses) {
		return 0, -1
	}
	events := b.events(rp.Records)
	if len(events) < 2 {
		return 0, -1 // it would be rejected for good
	}
	return b.next(codesRefused), b.rand.Int32N(int32(len(events))+1) - 1
}
