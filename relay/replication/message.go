package replication

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// maxMessage is the length of the longest message that is accepted. Postgres itself builds no message of 1 GB.
const maxMessage = 1 << 30

// Kind is the kind of a message.
type Kind uint8

// The kinds of messages.
const (
	Incomplete Kind = iota // the buffer has no complete message: call Fill
	Started                // the server agreed to stream
	XLogData               // a pgoutput message
	Keepalive              // the server's position
	Ended                  // the server ended the stream
)

// Message is one message of the stream. Data is a slice of the stream's buffer, valid until the next Fill.
type Message struct {
	Kind   Kind
	Data   []byte        // of XLogData
	WALEnd pglogrepl.LSN // keepalive: the server has sent everything before it
	Reply  bool          // keepalive: the server wants a status at once
}

// Next returns the next complete message in the buffer. An error that the server has sent is a *pgconn.PgError.
func (s *Stream) Next() (Message, error) {
	for {
		rest := s.buf[s.r:s.w]
		n := claimed(rest)
		if n == 0 {
			return Message{}, nil
		}
		if n < 5 || n > maxMessage {
			return Message{}, fmt.Errorf("message %q of %d bytes: not the replication protocol", rest[0], n)
		}
		if len(rest) < n {
			return Message{}, nil
		}
		s.r += n
		m, err := s.parse(rest[0], rest[5:n:n])
		if err != nil || m.Kind != Incomplete {
			return m, err
		}
	}
}

// SentAt returns when the server sent the XLogData message that Next returned last, by the server's clock. data is the message's Data.
func (s *Stream) SentAt(data []byte) time.Time {
	const sinceUnix = 946_684_800_000_000 // Postgres counts microseconds since 2000
	return time.UnixMicro(sinceUnix + int64(binary.BigEndian.Uint64(s.buf[s.r-len(data)-8:])))
}

// parse parses the body of a message. For a message that the relay ignores it returns the kind Incomplete.
func (s *Stream) parse(typ byte, body []byte) (Message, error) {
	switch typ {
	case 'd':
		return parseCopyData(body)
	case 'W':
		return Message{Kind: Started}, nil
	case 'C': // a server that is stopping sends it, too
		return Message{Kind: Ended}, nil
	case 'E':
		var e pgproto3.ErrorResponse
		if err := e.Decode(body); err != nil {
			return Message{}, fmt.Errorf("read the server's error: %w", err)
		}
		return Message{}, pgconn.ErrorResponseToPgError(&e)
	case 'N':
		var n pgproto3.ErrorResponse
		if err := n.Decode(body); err != nil {
			return Message{}, fmt.Errorf("read the server's notice: %w", err)
		}
		return Message{}, s.notice((*pgconn.Notice)(pgconn.ErrorResponseToPgError(&n)))
	case 'S', 'c', 'Z', 'A': // settings; our CopyDone echoed; ready; notifications
		return Message{}, nil
	}
	return Message{}, fmt.Errorf("message %q: not the replication protocol", typ)
}

// parseCopyData parses the two messages of the streaming replication protocol.
func parseCopyData(b []byte) (Message, error) {
	const (
		xlogHead     = 1 + 8 + 8 + 8 // kind, start, end, time: no position here may be confirmed
		keepaliveLen = 1 + 8 + 8 + 1 // kind, end, time, reply
	)
	switch {
	case len(b) >= xlogHead && b[0] == pglogrepl.XLogDataByteID:
		return Message{Kind: XLogData, Data: b[xlogHead:]}, nil
	case len(b) >= keepaliveLen && b[0] == pglogrepl.PrimaryKeepaliveMessageByteID:
		end := pglogrepl.LSN(binary.BigEndian.Uint64(b[1:]))
		return Message{Kind: Keepalive, WALEnd: end, Reply: b[17] != 0}, nil
	}
	return Message{}, fmt.Errorf("copy data of %d bytes is neither WAL nor keepalive: not the replication protocol", len(b))
}

// claimed returns the length that the header of the message at the front of b claims, including the header; 0 if b is too short to tell.
func claimed(b []byte) int {
	if len(b) < 5 {
		return 0
	}
	return 1 + int(binary.BigEndian.Uint32(b[1:]))
}
