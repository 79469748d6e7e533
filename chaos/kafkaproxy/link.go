package kafkaproxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

const (
	// pieceSize is how much of a frame is read at once. A connection keeps no
	// more than that of a frame that only passes.
	pieceSize = 64 << 10
	// maxFrame is the largest length that is believed. The default of
	// socket.request.max.bytes is 100 MiB.
	maxFrame = 128 << 20

	requestStart = 12 // length, key, version, correlation id
	answerStart  = 8  // length, correlation id
)

// malformed is an error that ends the connection and that [Cluster.Err]
// returns, because no fault explains it.
type malformed struct{ error }

func malformedf(format string, args ...any) error { return malformed{fmt.Errorf(format, args...)} }

// errSwallowed ends the connection of an answer that must not be passed on.
var errSwallowed = errors.New("the answer is swallowed")

// errTLS ends the connection of a client that begins a TLS handshake, as a
// broker without TLS does. It is not malformed: a client that gets no answer may
// try TLS to find out why.
var errTLS = errors.New("the client begins a TLS handshake")

// link is one relayed connection. Two goroutines relay it, one for each
// direction. Each of the proxy's own answers is written by another goroutine.
type link struct {
	broker         *broker
	client, server *net.TCPConn
	up, down       *gate
	once           sync.Once
	ended          chan struct{} // closed by reset

	writing sync.Mutex // held while writing to the client; the direction up never waits for it

	mu      sync.Mutex
	waiting []*exchange // requests without an answer, oldest first: answers come in this order
}

func newLink(b *broker, client, server *net.TCPConn) *link {
	return &link{broker: b, client: client, server: server, up: newGate(), down: newGate(), ended: make(chan struct{})}
}

// carry relays both directions until both have ended.
func (l *link) carry() {
	var directions sync.WaitGroup
	directions.Go(func() { l.end(l.carryUp(&directions), l.server, l.up) })
	directions.Go(func() { l.end(l.carryDown(), l.client, l.down) })
	directions.Wait()
	l.client.Close()
	l.server.Close()
	for _, x := range l.waiting { // no other goroutine is left
		x.fault.restore()
	}
}

// end passes the end of a direction on, and stalls with it. It passes an orderly
// end on as such, and any other as a reset.
func (l *link) end(err error, to *net.TCPConn, through *gate) {
	if !through.pass(l.ended) {
		return
	}
	var noise malformed
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		to.CloseWrite()
		return
	case errors.As(err, &noise):
		l.broker.cluster.note(fmt.Errorf("connection to broker %d: %w", l.broker.id, err))
	}
	l.reset()
}

// reset ends a link as a broken network does.
func (l *link) reset() {
	l.once.Do(func() {
		close(l.ended)
		abort(l.client)
		abort(l.server)
	})
}

// carryUp relays requests. It returns the error that ends this, never nil.
func (l *link) carryUp(directions *sync.WaitGroup) error {
	r := bufio.NewReaderSize(l.client, pieceSize)
	kept := false // a request of this connection is held
	for {
		start, err := r.Peek(requestStart)
		if err != nil {
			return ending(err, len(start))
		}
		if !l.up.pass(l.ended) {
			return net.ErrClosed
		}
		if start[0] == 0x16 && start[1] == 3 {
			return errTLS
		}
		be := binary.BigEndian
		x := &exchange{request: request{size: int(int32(be.Uint32(start))), key: int16(be.Uint16(start[4:])),
			version: int16(be.Uint16(start[6:])), correlation: int32(be.Uint32(start[8:]))}}
		if x.size < requestStart-4 || x.size > maxFrame {
			return malformedf("read a request of %d bytes: the client seems not to speak Kafka's protocol in plain text", x.size)
		}
		course := carried
		switch x.key {
		case produceKey:
			if course, err = l.meet(x, r, kept); err != nil {
				return err
			}
		case initProducerIDKey, metadataKey:
			x.fault = l.broker.cluster.meet(l.broker, x.key, func(kind) bool { return !kept })
		}
		switch {
		case course == held:
			kept = true
		case kept:
			// A later request of the connection must not overtake the held one. The client notices by its time-out.
			_, err = io.Copy(io.Discard, r)
			return errors.Join(err, io.EOF)
		case course == answered:
			l.expect(x)
			directions.Go(l.answer)
		default:
			if course != unanswered {
				l.expect(x)
			}
			if err := l.pass(l.server, r, 4+x.size, l.up); err != nil {
				return err
			}
		}
	}
}

// carryDown relays answers. It returns the error that ends this, never nil.
func (l *link) carryDown() error {
	r := bufio.NewReaderSize(l.server, pieceSize)
	for {
		start, err := r.Peek(answerStart)
		if err != nil {
			return ending(err, len(start))
		}
		if !l.down.pass(l.ended) {
			return net.ErrClosed
		}
		size, correlation := int(int32(binary.BigEndian.Uint32(start))), int32(binary.BigEndian.Uint32(start[4:]))
		if size < answerStart-4 || size > maxFrame {
			return malformedf("read an answer of %d bytes: the broker seems not to speak Kafka's protocol in plain text", size)
		}
		if err := l.take(r, size, correlation); err != nil {
			return err
		}
	}
}

// ending turns an EOF in the middle of a frame into an unexpected EOF.
func ending(err error, began int) error {
	if errors.Is(err, io.EOF) && began > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// take passes on, changes or drops the next answer.
func (l *link) take(r *bufio.Reader, size int, correlation int32) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.answerOwn(); err != nil {
		return err
	}
	x := l.next()
	if x == nil || x.correlation != correlation {
		return malformedf("read an answer with correlation id %d: it does not belong to the next request", correlation)
	}
	answer, err := x.decoder()
	switch {
	case err != nil:
	case answer == nil:
		err = l.pass(l.client, r, 4+size, l.down)
	default:
		err = l.passChanged(x, answer, r, 4+size)
	}
	if errors.Is(err, errSwallowed) {
		l.reset() // before the fault counts it
		l.forget()
	}
	if err != nil {
		return err
	}
	l.forget()
	return l.answerOwn()
}

// pass relays n bytes in pieces. It writes each piece directly from the reader's
// buffer.
func (l *link) pass(to io.Writer, r *bufio.Reader, n int, through *gate) error {
	for n > 0 {
		if _, err := r.Peek(1); err != nil {
			return ending(err, 1)
		}
		piece, _ := r.Peek(min(n, r.Buffered())) // buffered already
		if !through.pass(l.ended) {
			return net.ErrClosed
		}
		if _, err := to.Write(piece); err != nil {
			return err
		}
		_, _ = r.Discard(len(piece)) // all of it is buffered
		n -= len(piece)
	}
	return nil
}

// whole reads n bytes.
func (l *link) whole(r *bufio.Reader, n int, through *gate) ([]byte, error) {
	frame := bytes.NewBuffer(make([]byte, 0, n))
	err := l.pass(frame, r, n, through)
	return frame.Bytes(), err
}
