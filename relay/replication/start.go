package replication

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"walpost/schema"
)

// startLimit bounds how long the server may take to start streaming.
const startLimit = 30 * time.Second

// Start asks the server to stream and hands the connection over to a stream. The walsender must not be used any more. Start asks for the
// position 0/0, which means the slot's own position. A higher position would skip everything before it, and the server does not check that.
func (w *Walsender) Start(ctx context.Context, slot, publication string, binary bool) (*Stream, error) {
	// If writing a command took long, pgconn reads in the background, and that read would take the server's answer away from the stream.
	if err := w.conn.SyncConn(ctx); err != nil {
		w.Close()
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	hijacked, err := w.conn.Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	w.conn = nil
	s := NewStream(hijacked.Conn, w.notices.take)
	w.notices.streaming = true
	stop := context.AfterFunc(ctx, func() { s.Interrupt(ErrLeave) })
	defer stop()
	if err := s.begin(startCommand(slot, publication, binary)); err != nil {
		hijacked.Conn.Close()
		return nil, fmt.Errorf("start replication from slot %s: %w", slot, err)
	}
	return s, nil
}

// startCommand returns START_REPLICATION with pgoutput's options. Names are always quoted, because the replication grammar allows some
// names only in quotes. The publication is an identifier, in a list, in a literal.
func startCommand(slot, publication string, binary bool) string {
	options := "proto_version '1', publication_names " + schema.QuoteLiteral(pgx.Identifier{publication}.Sanitize())
	if binary { // worth it for bytea, which is twice as long as text
		options += ", binary 'true'"
	}
	return "START_REPLICATION SLOT " + pgx.Identifier{slot}.Sanitize() + " LOGICAL 0/0 (" + options + ")"
}

// begin sends the command and reads until the server starts to stream.
func (s *Stream) begin(command string) error {
	query, err := (&pgproto3.Query{String: command}).Encode(nil)
	if err != nil {
		return err
	}
	if err := s.send(query, startLimit); err != nil {
		return err
	}
	if err := s.setLimit(time.Now().Add(startLimit)); err != nil {
		return err
	}
	for {
		m, err := s.Next()
		if err == nil && m.Kind == Incomplete {
			err = s.Fill()
		}
		switch {
		case err != nil:
			return err
		case m.Kind == Started:
			return s.setLimit(time.Time{})
		}
	}
}
