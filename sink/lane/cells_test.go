package lane

import (
	"fmt"

	"walpost/sink/internal/brokermodel"
)

// What can happen to a lane's head, from when it gets sequences until no batch has any. There are five aspects, and a cell is a combination
// of them.
type (
	happening uint8
	cell      struct{ ambiguous, refused, moved, state, wrap happening }
)

const (
	nothing happening = iota

	lostRequest   // ambiguous: a request that never arrived
	lostAnswer    // an append whose answer was lost
	unclearAnswer // an append that was answered by a code that leaves it open
	lateRequest   // a request that was cut off and arrived later

	refusedNamed   // refused: a record is named
	refusedUnnamed // none is

	movedWith    // moved: the new leader has all of the head that the old one had
	movedWithout // what was appended of the head has fallen away

	forgotten // state: the brokers forgot the producer
	recreated // the topic was re-created
	fenced    // somebody else has taken the producer id

	wrapWithin // wrap: the head's sequences go from 2^31-1 to 0
	wrapAtEnd  // its last one is 2^31-1
)

var names = [...]string{"nothing", "request lost", "answer lost", "answer unclear", "request late", "refused by name", "refused", "leader moved", "append fell away",
	"producers forgotten", "topic re-created", "fenced", "wraps", "ends at 2^31-1"}

func (h happening) String() string { return names[h] }

func (c cell) String() string {
	return fmt.Sprintf("%v + %v + %v + %v + %v", c.ambiguous, c.refused, c.moved, c.state, c.wrap)
}

// possibleCells returns all possible combinations. A batch can fall out of the log only if it was appended and its answer did not come.
func possibleCells() (cells []cell) {
	for ambiguous := range span(nothing, lostRequest, lateRequest) {
		for refused := range span(nothing, refusedNamed, refusedUnnamed) {
			for moved := range span(nothing, movedWith, movedWithout) {
				for state := range span(nothing, forgotten, fenced) {
					for wrap := range span(nothing, wrapWithin, wrapAtEnd) {
						if moved == movedWithout && ambiguous <= lostRequest {
							continue
						}
						cells = append(cells, cell{ambiguous, refused, moved, state, wrap})
					}
				}
			}
		}
	}
	return cells
}

// span iterates over none and over first to last.
func span(none, first, last happening) func(func(happening) bool) {
	return func(yield func(happening) bool) {
		for h := none; h <= last; h = max(h+1, first) {
			if !yield(h) {
				return
			}
		}
	}
}

// life is what happened to a head; several things of one aspect may happen.
type life struct {
	first, last                               uint64 // its events
	ambiguous, refused, moved, state, wrapped uint32 // bits of happenings
}

func newLife(r brokermodel.Request) *life {
	l := &life{first: r.Events[0], last: r.Events[len(r.Events)-1]}
	switch last := brokermodel.After(r.First, len(r.Events)-1); {
	case last < r.First:
		l.meet(&l.wrapped, wrapWithin)
	case last == 1<<31-1:
		l.meet(&l.wrapped, wrapAtEnd)
	}
	return l
}

func (l *life) meet(what *uint32, h happening) { *what |= 1 << h }

func (l *life) has(r brokermodel.Request) bool {
	return l.first <= r.Events[0] && r.Events[0] <= l.last
}

// end counts every combination of what happened.
func (l *life) end(met map[cell]int) {
	for a := range each(l.ambiguous) {
		for r := range each(l.refused) {
			for m := range each(l.moved) {
				for s := range each(l.state) {
					for w := range each(l.wrapped) {
						met[cell{a, r, m, s, w}]++
					}
				}
			}
		}
	}
}

// each iterates over the events in bits, and over nothing if there are none.
func each(bits uint32) func(func(happening) bool) {
	return func(yield func(happening) bool) {
		if bits == 0 {
			yield(nothing)
			return
		}
		for h := range happening(len(names)) {
			if bits&(1<<h) != 0 && !yield(h) {
				return
			}
		}
	}
}

func refusalOf(o Outcome) happening {
	if len(o.Named) > 0 {
		return refusedNamed
	}
	return refusedUnnamed
}
