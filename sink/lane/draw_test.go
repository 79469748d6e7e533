package lane

import (
	"math/rand/v2"

	"walpost/sink/internal/brokermodel"
)

// drawScript makes the script of journey n: random acts, then acts that lead a head through the n-th cell, then random acts again.
func drawScript(n int, cells []cell) *script {
	d := &drawer{Rand: rand.New(rand.NewPCG(uint64(n), 1)), script: &script{rules: brokermodel.Rules(n % 3), limit: 200 + n*37%3000}}
	if n%2 == 1 {
		d.script.limit = 1 << 20
	}
	d.lead(cells[n%len(cells)])
	d.wander(d.IntN(40))
	return d.script
}

type drawer struct {
	*rand.Rand
	script *script
}

func (d *drawer) add(acts ...act) { d.script.acts = append(d.script.acts, acts...) }

// lead makes acts that bring a head through a cell.
func (d *drawer) lead(c cell) {
	before, count := d.IntN(20), 2+d.IntN(12)
	switch c.wrap {
	case nothing:
		d.script.next = d.Int32N(1 << 30)
	case wrapWithin:
		d.script.next = int32(1<<31 - 1 - d.IntN(count-1) - before)
	case wrapAtEnd:
		d.script.next = int32(1<<31 - before - count)
	}
	d.add(act{kind: setLimit, n: 1 << 20})
	if before > 0 {
		d.add(act{kind: publishing, n: before, big: -1, seed: d.Uint64()})
	}
	for range 2 + before {
		d.add(act{kind: sendHead})
	}
	d.add(act{kind: publishing, n: count, odd: d.Perm(count)[:1+d.IntN(count)], big: -1, seed: d.Uint64()})
	d.add(d.before())
	groups := [][]act{d.ambiguous(c), d.refused(c), d.moved(c), d.state(c)}
	d.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
	for _, g := range groups {
		d.add(g...)
		switch d.IntN(4) {
		case 0:
			d.add(d.before())
		case 1:
			d.add(act{kind: publishing, n: 1 + d.IntN(3), big: -1, seed: d.Uint64(), fate: fate{way: refusedBefore, code: codesBefore[0]}})
		}
	}
	for range 3 {
		d.add(act{kind: sendHead})
	}
}

// before is a request that does not change the log. After it, the lane looks for its leader.
func (d *drawer) before() act {
	return act{kind: sendHead, fate: fate{way: refusedBefore, code: codesBefore[d.IntN(len(codesBefore))]}}
}

func (d *drawer) ambiguous(c cell) []act {
	f := fate{stranded: c.moved == movedWithout}
	acts := []act{d.before()}
	switch c.ambiguous {
	case nothing:
		return nil
	case lostRequest:
		f.way = neverArrives
	case lostAnswer:
		f.way = answerIsLost
	case unclearAnswer:
		f.way, f.code = answerIsUnclear, codesAfter[d.IntN(len(codesAfter))]
	case lateRequest:
		acts = append(acts, act{kind: sendHead, fate: fate{way: arrivesLate}})
		if d.IntN(2) == 0 {
			acts = append(acts, d.before())
		}
		acts = append(acts, act{kind: land, fate: f})
	}
	if c.ambiguous != lateRequest {
		acts = append(acts, act{kind: sendHead, fate: f})
	}
	if c.moved == movedWithout {
		acts = append(acts, act{kind: moveLead})
	}
	return acts
}

func (d *drawer) refused(c cell) []act {
	ask := []act{d.before(), {kind: sendHead}}
	switch c.refused {
	case refusedNamed:
		return append(append([]act{{kind: compact, on: true}}, ask...), act{kind: compact})
	case refusedUnnamed:
		return append(append([]act{{kind: setLimit, n: 61 + d.IntN(20)}}, ask...), act{kind: setLimit, n: 1 << 20})
	}
	return nil
}

func (d *drawer) moved(c cell) []act {
	if c.moved == movedWith {
		return []act{{kind: catchUp}, {kind: moveLead}}
	}
	return nil
}

func (d *drawer) state(c cell) []act {
	switch c.state {
	case forgotten:
		if d.script.rules == brokermodel.Before40 {
			return []act{{kind: forgetAll}, d.before(), {kind: sendHead}}
		}
		return []act{{kind: forgetAll}}
	case recreated:
		if d.script.rules != brokermodel.Kafka43 {
			return []act{{kind: makeAnew}, d.before(), {kind: sendHead}}
		}
		return []act{{kind: makeAnew}}
	case fenced:
		return []act{{kind: takeOver}, d.before(), {kind: sendHead}}
	}
	return nil
}

// wander adds random acts of all kinds.
func (d *drawer) wander(n int) {
	for range n {
		s := act{big: -1, seed: d.Uint64(), fate: d.fate()}
		switch k := d.IntN(60); {
		case k < 12:
			s.kind, s.n = publishing, 1+d.IntN(12)
			if d.IntN(8) == 0 {
				s.odd = d.Perm(s.n)[:1+d.IntN(s.n)]
			}
			if d.IntN(30) == 0 {
				s.big = d.IntN(s.n)
			}
		case k < 40:
			s.kind = sendHead
		case k < 48:
			s.kind = land
		case k < 51:
			s.kind, s.n = setLimit, 61+d.IntN(3000)
		case k < 52:
			s.kind, s.on = compact, d.IntN(2) == 0
		case k < 54:
			s.kind = catchUp
		case k < 56:
			s.kind = moveLead
		case k < 57:
			s.kind = forgetAll
		case k < 58:
			s.kind = makeAnew
		case k < 59:
			s.kind = takeOver
		default:
			s.kind, s.n = outage, 20+d.IntN(300)
			s.fate = d.before().fate
			if d.IntN(2) == 0 {
				s.way = neverArrives
			}
		}
		d.add(s)
	}
}

// fate draws the fate of a request. For two of three requests, the partition's own answer arrives.
func (d *drawer) fate() fate {
	f := fate{stranded: d.IntN(3) == 0, stale: d.IntN(8) == 0}
	switch d.IntN(18) {
	case 0:
		f.way, f.code = refusedBefore, codesBefore[d.IntN(len(codesBefore))]
	case 1:
		f.way = neverArrives
	case 2:
		f.way = arrivesLate
	case 3, 4:
		f.way = answerIsLost
	case 5:
		f.way, f.code = answerIsUnclear, codesAfter[d.IntN(len(codesAfter))]
	}
	return f
}
