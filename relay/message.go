package relay

import (
	"encoding/binary"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// maxMessage is the longest message taken. Postgres itself builds none of 1 GB.
const maxMessage = 1 << 30

// kind is the kind of a message.
type kind uint8

const (
	incomplete kind = iota // nothing whole is in the buffer: fill it
	started                // the server agreed to stream
	xlogData               // a pgoutput message
	keepalive              // how far the server has come
	ended                  // the server ended the stream
)

// message is one message of the stream. data is a slice of the stream's buffer, valid until the next fill.
type message struct {
	kind   kind
	data   []byte        // xlogData
	walEnd pglogrepl.LSN // keepalive: everything before it was sent
	reply  bool          // keepalive: the server wants a status at once
}

// next returns the next whole message in the buffer. An error that the server sent is a *pgconn.PgError.
func (s *stream) next() (message, error) {
	for {
		rest := s.buf[s.r:s.w]
		n := claimed(rest)
		if n == 0 {
			return message{}, nil
		}
		if n < 5 || n > maxMessage {
			return message{}, fmt.Errorf("message %q of %d bytes: not the replication protocol", rest[0], n)
		}
		if len(rest) < n {
			return message{}, nil
		}
		s.r += n
		m, err := s.parse(rest[0], rest[5:n:n])
		if err != nil || m.kind != incomplete {
			return m, err
		}
	}
}

// parse makes a message of a body; incomplete means that it says nothing to the relay.
func (s *stream) parse(typ byte, body []byte) (message, error) {
	switch typ {
	case 'd':
		return parseCopyData(body)
	case 'W':
		return message{kind: started}, nil
	case 'C': // also what a server says that is stopping
		return message{kind: ended}, nil
	case 'E':
		var e pgproto3.ErrorResponse
		if err := e.Decode(body); err != nil {
			return message{}, fmt.Errorf("read the server's error: %w", err)
		}
		return message{}, pgconn.ErrorResponseToPgError(&e)
	case 'N':
		var n pgproto3.ErrorResponse
		if err := n.Decode(body); err != nil {
			return message{}, fmt.Errorf("read the server's notice: %w", err)
		}
		return message{}, s.notice((*pgconn.Notice)(pgconn.ErrorResponseToPgError(&n)))
	case 'S', 'c', 'Z', 'A': // settings; our CopyDone echoed; ready; notifications
		return message{}, nil
	}
	return message{}, fmt.Errorf("message %q: not the replication protocol", typ)
}

// parseCopyData reads the two messages of the streaming replication protocol.
func parseCopyData(b []byte) (message, error) {
	const (
		xlogHead     = 1 + 8 + 8 + 8 // kind, start, end, time: none of them good for confirming
		keepaliveLen = 1 + 8 + 8 + 1 // kind, end, time, reply
	)
	switch {
	case len(b) >= xlogHead && b[0] == pglogrepl.XLogDataByteID:
		return message{kind: xlogData, data: b[xlogHead:]}, nil
	case len(b) >= keepaliveLen && b[0] == pglogrepl.PrimaryKeepaliveMessageByteID:
		end := pglogrepl.LSN(binary.BigEndian.Uint64(b[1:]))
		return message{kind: keepalive, walEnd: end, reply: b[17] != 0}, nil
	}
	return message{}, fmt.Errorf("copy data of %d bytes is neither WAL nor keepalive: not the replication protocol", len(b))
}

// claimed returns the length that the message at the front of b says it has, head included; 0 while that cannot be read.
func claimed(b []byte) int {
	if len(b) < 5 {
		return 0
	}
	return 1 + int(binary.BigEndian.Uint32(b[1:]))
}
