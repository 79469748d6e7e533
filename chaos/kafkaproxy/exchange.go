package kafkaproxy

import "net"

// exchange is a request and what becomes of its answer.
type exchange struct {
	request
	fault *Fault // what becomes of the answer; nil: nothing
	own   []byte // the answer, when the broker is not asked
}

// request is what each request begins with.
type request struct {
	size         int // what follows the length
	key, version int16
	correlation  int32
}

// expect adds a request to those whose answer is awaited.
func (l *link) expect(x *exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, x)
}

// next is the request whose answer comes next, nil if there is none.
func (l *link) next() *exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil
	}
	return l.waiting[0]
}

// forget drops the request whose answer has been written.
func (l *link) forget() {
	l.mu.Lock()
	x := l.waiting[0]
	l.waiting = l.waiting[1:]
	l.mu.Unlock()
	x.fault.spend()
}

// answer writes the proxy's own answers whose turn has come.
func (l *link) answer() {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.answerOwn(); err != nil {
		l.reset()
	}
}

// answerOwn is answer for who has the turn to write.
func (l *link) answerOwn() error {
	for {
		x := l.next()
		if x == nil || x.own == nil {
			return nil
		}
		if !l.down.pass(l.ended) {
			return net.ErrClosed
		}
		if _, err := l.client.Write(x.own); err != nil {
			return err
		}
		l.forget()
	}
}
