package relay

import "github.com/jackc/pglogrepl"

// pass collects what one read brought: the transactions and their counts, to be handed to the window under one lock before the sink gets
// to send anything of them. An ack may come the moment the sink has an event, and must find its transaction.
//
// It numbers the transactions as the window will.
type pass struct {
	txs    []passTx
	next   uint64        // number of the next transaction
	inside bool          // the last one waits for its commit
	final  pglogrepl.LSN // FinalLSN of the last one
}

// passTx is what a pass saw of one transaction.
type passTx struct {
	fresh  bool // it began in this pass
	commit int64
	rows   int
	end    pglogrepl.LSN // 0: its commit is yet to come
}

func (p *pass) begin(commit int64) {
	p.txs = append(p.txs, passTx{fresh: true, commit: commit})
	p.next++
	p.inside = true
}

// add counts one event and returns its transaction's number.
func (p *pass) add() uint64 {
	p.current().rows++
	return p.next - 1
}

func (p *pass) seal(end pglogrepl.LSN) {
	p.current().end = end
	p.inside = false
}

// current returns the open transaction, which may have begun in an earlier pass.
func (p *pass) current() *passTx {
	if len(p.txs) == 0 {
		p.txs = append(p.txs, passTx{})
	}
	return &p.txs[len(p.txs)-1]
}

// clear empties the pass for the next read.
func (p *pass) clear() { p.txs = p.txs[:0] }
