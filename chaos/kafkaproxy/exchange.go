package kafkaproxy

import "net"

// exchange is a request and what happens to its answer.
type exchange struct {
	request
	fault *Fault // changes the answer; nil: the answer is not changed
	own   []byte // the proxy's own answer, if the broker does not get the request
}

// request is the common beginning of all requests.
type request struct {
	size         int // bytes after the length
	key, version int16
	correlation  int32
}

// expect adds a request to those that wait for an answer.
func (l *link) expect(x *exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, x)
}

// next returns the request whose answer comes next, nil if there is none.
func (l *link) next() *exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil
	}
	return l.waiting[0]
}

// forget removes the request whose answer has been written.
func (l *link) forget() {
	l.mu.Lock()
	x := l.waiting[0]
	l.waiting = l.waiting[1:]
	l.mu.Unlock()
	x.fault.spend()
}

// answer writes the proxy's own answers that are next in order.
func (l *link) answer() {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.answerOwn(); err != nil {
		l.reset()
	}
}

// answerOwn does the work of answer. The caller holds l.writing.
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
