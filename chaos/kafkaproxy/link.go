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
	// pieceSize is what is read of a frame at once, and all that a
	// connection keeps of one that only passes.
	pieceSize = 64 << 10
	// maxFrame is where a length is taken for noise: socket.request.max.bytes
	// is 100 MiB by default.
	maxFrame = 128 << 20

	requestStart = 12 // length, key, version, correlation id
	answerStart  = 8  // length, correlation id
)

// malformed is an error that ends the connection and is noted: no fault
// explains it.
type malformed struct{ error }

func malformedf(format string, args ...any) error { return malformed{fmt.Errorf(format, args...)} }

// errSwallowed ends the connection whose answer is not to be passed on.
var errSwallowed = errors.New("an answer is swallowed")

// errTLS ends a connection as a plain broker does when a client begins a TLS
// handshake. It is no noise: who gets no answer may try that to find out why.
var errTLS = errors.New("a TLS handshake")

// link is one carried connection. Two goroutines carry it, one for each
// direction, and each answer of the proxy's own is written by a third.
type link struct {
	broker         *broker
	client, server *net.TCPConn
	up, down       *gate
	once           sync.Once
	ended          chan struct{} // closed by reset

	writing sync.Mutex // whose turn it is to write to the client; never awaited by the direction up

	mu      sync.Mutex
	waiting []*exchange // requests without an answer, oldest first: answers come in this order
}

func newLink(b *broker, client, server *net.TCPConn) *link {
	return &link{broker: b, client: client, server: server, up: newGate(), down: newGate(), ended: make(chan struct{})}
}

// carry carries both directions until both have ended.
func (l *link) carry() {
	var directions sync.WaitGroup
	directions.Go(func() { l.end(l.carryUp(&directions), l.server, l.up) })
	directions.Go(func() { l.end(l.carryDown(), l.client, l.down) })
	directions.Wait()
	l.client.Close()
	l.server.Close()
	for _, x := range l.waiting { // alone now
		x.fault.restore()
	}
}

// end passes a direction's end on, as late as what is carried: an orderly one
// as such, any other as a reset.
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

// carryUp carries requests, until an error that is never nil.
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
			return malformedf("a request of %d bytes: does the client speak plain Kafka?", x.size)
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
			// What follows a request on its connection does not overtake it; the client finds out by its time-out.
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

// carryDown carries answers, until an error that is never nil.
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
			return malformedf("an answer of %d bytes: does the broker speak plain Kafka?", size)
		}
		if err := l.take(r, size, correlation); err != nil {
			return err
		}
	}
}

// ending makes an end in the middle of a frame one like any other.
func ending(err error, began int) error {
	if errors.Is(err, io.EOF) && began > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// take passes on, or changes, or drops, the answer that comes next.
func (l *link) take(r *bufio.Reader, size int, correlation int32) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.answerOwn(); err != nil {
		return err
	}
	x := l.next()
	if x == nil || x.correlation != correlation {
		return malformedf("an answer with correlation id %d, which is not the next that is awaited", correlation)
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
		l.reset() // before it counts
		l.forget()
	}
	if err != nil {
		return err
	}
	l.forget()
	return l.answerOwn()
}

// pass carries n bytes in pieces, each copied out of the reader's buffer by
// the write alone.
func (l *link) pass(to io.Writer, r *bufio.Reader, n int, through *gate) error {
	for n > 0 {
		if _, err := r.Peek(1); err != nil {
			return ending(err, 1)
		}
		piece, _ := r.Peek(min(n, r.Buffered())) // there already
		if !through.pass(l.ended) {
			return net.ErrClosed
		}
		if _, err := to.Write(piece); err != nil {
			return err
		}
		_, _ = r.Discard(len(piece)) // never more than there is
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
