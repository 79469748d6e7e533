package inflight

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"

	"walpost/internal/testenv/long"
)

var replayWindow = flag.Int("window", -1, "play only the window's script of this number, and print it")

// model computes the same as window in the simplest way: it keeps every transaction and searches all of them.
type model struct {
	txs  []entry // with the commit times that they were given
	rows []int64 // number of events of each, acked or not
	idle pglogrepl.LSN
	open bool
}

func (m *model) begin(commit int64) {
	m.txs, m.rows, m.open = append(m.txs, entry{tx: uint64(len(m.txs)), commit: commit}), append(m.rows, 0), true
}

func (m *model) add(rows int) {
	m.txs[len(m.txs)-1].unacked += int64(rows)
	m.rows[len(m.rows)-1] += int64(rows)
}

func (m *model) seal(end pglogrepl.LSN) { m.txs[len(m.txs)-1].end, m.open = end, false }

// first returns the index of the oldest transaction that is not done, or len(txs) if all are done.
func (m *model) first() int {
	for i := range m.txs {
		if !m.txs[i].isDone() {
			return i
		}
	}
	return len(m.txs)
}

func (m *model) confirmed() pglogrepl.LSN {
	if first := m.first(); first > 0 {
		return max(m.txs[first-1].end, m.idle)
	}
	return m.idle
}

// committed returns the commit time of the last confirmed transaction that had events.
func (m *model) committed() int64 {
	for i := m.first() - 1; i >= 0; i-- {
		if m.rows[i] > 0 {
			return m.txs[i].commit
		}
	}
	return 0
}

func (m *model) oldest() int64 {
	if first := m.first(); first < len(m.txs) && m.rows[first] > 0 {
		return m.txs[first].commit
	}
	return 0
}

func (m *model) unacked() (sum int64) {
	for i := range m.txs {
		sum += m.txs[i].unacked
	}
	return sum
}

// known is everything that the methods of a window return. It has the result of before for five transactions.
type known struct {
	confirmed                  pglogrepl.LSN
	committed, oldest, unacked int64
	empty, open                bool
	before                     [5]bool
}

// compare returns a difference between the window and the model.
func (m *model) compare(w *window) string {
	first := m.first()
	got := known{w.confirmed, w.committed, w.oldest(), w.unacked, w.empty(), w.open, [5]bool{}}
	want := known{m.confirmed(), m.committed(), m.oldest(), m.unacked(), first == len(m.txs), m.open, [5]bool{}}
	for i, tx := range [5]int{0, first - 1, first, first + 1, len(m.txs) - 1} {
		if tx >= 0 && tx < len(m.txs) {
			got.before[i], want.before[i] = w.before(uint64(tx)), tx <= first
		}
	}
	if got != want {
		return fmt.Sprintf("the window: %+v\nthe model:  %+v", got, want)
	}
	pending := 0
	for i := range m.txs {
		if !m.txs[i].isDone() {
			pending++
		}
	}
	if limit := 8 * (pending + mergeSlack); len(w.entries) > limit {
		return fmt.Sprintf("%d entries for %d pending transactions", len(w.entries), pending)
	}
	return ""
}

// windowOp is one call. Its effect depends on the state of the window, so that a script stays valid when some of its calls are dropped.
type windowOp struct {
	kind windowOpKind
	n    int // number of rows; or how far an end or an idle position is ahead, negative: behind
	pick int // of ack: which of the transactions with unacked events
	time int64
}

type windowOpKind uint8

const (
	opBegin windowOpKind = iota
	opAdd
	opSeal
	opAck    // some events
	opAckAll // the transaction's last events
	opIdle
	opWrong // a call that breaks a precondition: it panics and changes nothing
	opKinds
)

// windowMeeting is an operation, and the state of the window in which it came.
type windowMeeting struct {
	kind                 windowOpKind
	open, empty, merging bool // merging: there are done transactions behind one that is not done
}

// playWindow plays a script to a window and to the model, and returns the first difference. If asked to, it also returns the history until
// then.
func playWindow(ops []windowOp, met map[windowMeeting]int, told bool) (difference string, history []string) {
	w, m, lsn := window{}, model{}, pglogrepl.LSN(0x1000)
	tell := func(format string, args ...any) {
		if told {
			history = append(history, fmt.Sprintf(format, args...))
		}
	}
	defer func() {
		if p := recover(); p != nil {
			difference = fmt.Sprintf("panic: %v", p)
		}
	}()
	for _, op := range ops {
		if met != nil {
			met[windowMeeting{op.kind, w.open, w.empty(), w.done > 0}]++
		}
		switch op.kind {
		case opBegin:
			if m.open {
				continue
			}
			tell("begin(%d)", op.time)
			m.begin(op.time)
			if tx := w.begin(op.time); tx != uint64(len(m.txs)-1) {
				return fmt.Sprintf("it has number %d", tx), history
			}
		case opAdd:
			if !m.open {
				continue
			}
			tell("add(%d)", op.n)
			m.add(op.n)
			w.add(op.n)
		case opSeal:
			if !m.open {
				continue
			}
			lsn += pglogrepl.LSN(1 + max(op.n, 0))
			tell("seal(%v)", lsn)
			m.seal(lsn)
			w.seal(lsn)
		case opAck, opAckAll:
			e := m.pick(op.pick)
			if e == nil {
				continue
			}
			rows := e.unacked
			if op.kind == opAck {
				rows = 1 + int64(op.n)%rows
			}
			e.unacked -= rows
			tell("ack(%d, %d)", e.tx, rows)
			if commit, done := w.ack(e.tx, int(rows)); commit != e.commit || done != e.isDone() {
				return fmt.Sprintf("ack returns %d, %t; want %d, %t", commit, done, e.commit, e.isDone()), history
			}
		case opIdle:
			at := max(lsn+pglogrepl.LSN(op.n), 1)
			if !m.open && m.first() == len(m.txs) {
				m.idle, lsn = max(m.idle, at), max(lsn, at)
			}
			tell("idle(%v)", at)
			w.idle(at)
		case opWrong:
			what, call := m.wrong(op, &w)
			if tell("%s", what); !panics(call) {
				return "no panic", history
			}
		}
		if difference := m.compare(&w); difference != "" {
			return difference, history
		}
	}
	return "", history
}

func (m *model) pick(n int) *entry {
	var with []int
	for i := m.first(); i < len(m.txs); i++ {
		if m.txs[i].unacked > 0 {
			with = append(with, i)
		}
	}
	if len(with) == 0 {
		return nil
	}
	return &m.txs[with[n%len(with)]]
}

// wrong returns a call that is not allowed in this state.
func (m *model) wrong(op windowOp, w *window) (string, func()) {
	switch op.n % 6 {
	case 0:
		return "ack of a transaction that is yet to come", func() { w.ack(uint64(len(m.txs)), 1) }
	case 1:
		if e := m.pick(op.pick); e != nil {
			return fmt.Sprintf("ack(%d, %d), too many", e.tx, e.unacked+1), func() { w.ack(e.tx, int(e.unacked)+1) }
		}
	case 2:
		if e := m.pick(op.pick); e != nil {
			return fmt.Sprintf("ack(%d, 0)", e.tx), func() { w.ack(e.tx, 0) }
		}
	case 3:
		if n := len(m.txs); n > 0 && m.txs[op.pick%n].unacked == 0 {
			return fmt.Sprintf("ack(%d, 1), one too many", op.pick%n), func() { w.ack(uint64(op.pick%n), 1) }
		}
	case 4:
		return "add(-1)", func() { w.add(-1) }
	}
	if m.open {
		if op.pick%2 == 0 {
			return "begin inside a transaction", func() { w.begin(1) }
		}
		return "commit without an end", func() { w.seal(0) }
	}
	if op.pick%2 == 0 {
		return "events outside a transaction", func() { w.add(1) }
	}
	return "commit outside a transaction", func() { w.seal(1 << 40) }
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// drawWindow draws script n. Scripts differ in how late acks are, and so in how much is outstanding.
func drawWindow(n int) []windowOp {
	r := rand.New(rand.NewPCG(uint64(n), 17))
	lag, oldestFirst, count, most := r.Float64(), r.IntN(3) == 0, 100+r.IntN(500), 4
	if n%100 == 0 {
		lag, count, most = 1, 1500, 1+r.IntN(2) // many transactions are behind a few unacked events
	}
	var ops []windowOp
	for range count {
		op := windowOp{n: r.IntN(40), pick: r.IntN(1 << 20), time: 1 + r.Int64N(1000)}
		switch draw := r.Float64(); {
		case draw < 0.04:
			op.kind, op.n = opIdle, op.n-20
		case draw < 0.08:
			op.kind = opWrong
		case draw < 0.50: // a transaction, mostly complete
			rows := r.IntN(most)
			ops = append(ops, windowOp{kind: opBegin, time: op.time})
			if r.IntN(4) == 0 {
				op.kind, op.n = opAdd, rows
				break
			}
			ops = append(ops, windowOp{kind: opAdd, n: rows})
			op.kind = opSeal
		case draw < 0.56:
			op.kind, op.n = opAdd, r.IntN(most)
		case draw < 0.62:
			op.kind = opSeal
		case r.Float64() > lag/2:
			op.kind = opAck + windowOpKind(r.IntN(2))
			if oldestFirst {
				op.pick = 0
			} else if r.IntN(3) > 0 {
				op.pick = 1 + r.IntN(50) // does not ack the oldest
			}
		}
		ops = append(ops, op)
	}
	for range count / 2 { // at the end everything is acked
		ops = append(ops, windowOp{kind: opAckAll, pick: r.IntN(1 << 20)})
	}
	return ops
}

// TestWindowModel compares the window with the model after each step of drawn scripts.
func TestWindowModel(t *testing.T) {
	if *replayWindow >= 0 {
		difference, history := playWindow(drawWindow(*replayWindow), nil, true)
		if t.Logf("script %d\n%s\n%s", *replayWindow, strings.Join(history, "\n"), difference); difference != "" {
			t.Fail()
		}
		return
	}
	scripts := long.Or(600, 6000)
	met := map[windowMeeting]int{}
	for n := range scripts {
		ops := drawWindow(n)
		if difference, _ := playWindow(ops, met, false); difference != "" {
			ops = shrinkWindow(ops)
			difference, history := playWindow(ops, nil, true)
			t.Fatalf("go test ./relay/inflight -run %s -window %d\n%d steps are left:\n%s\n%s", t.Name(), n, len(history), strings.Join(history, "\n"), difference)
		}
	}
	for kind := range opKinds {
		for _, state := range []windowMeeting{{kind, false, true, false}, {kind, false, false, false}, {kind, false, false, true}, {kind, true, false, false}, {kind, true, false, true}} {
			if met[state] == 0 {
				t.Errorf("no script met %+v", state)
			}
		}
	}
}

// shrinkWindow drops steps of a script as long as a difference remains.
func shrinkWindow(ops []windowOp) []windowOp {
	for size := len(ops) / 2; size > 0; {
		dropped := false
		for at := 0; at < len(ops); {
			fewer := slices.Delete(slices.Clone(ops), at, min(at+size, len(ops)))
			if difference, _ := playWindow(fewer, nil, false); difference != "" {
				ops, dropped = fewer, true
			} else {
				at += size
			}
		}
		if !dropped {
			size /= 2
		}
	}
	return ops
}
