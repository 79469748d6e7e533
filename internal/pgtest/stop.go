package pgtest

import (
	"context"
	"fmt"
	"syscall"
)

// Stop asks the server to stop, and waits for that until ctx ends. A smart stop waits for clients. A fast stop waits for walsenders whose
// client does not confirm. If ctx ends first, the server goes on stopping, and another Stop with a stronger mode may follow.
func (s *Server) Stop(ctx context.Context, mode Mode) error {
	if !s.process.Running() {
		return nil
	}
	if err := s.process.Signal(syscall.Signal(mode)); err != nil {
		return err
	}
	if err := s.process.Wait(ctx); err != nil {
		return fmt.Errorf("stop Postgres (%s): %w", mode, err)
	}
	return nil
}

// Kill crashes the server with SIGKILL to all of its processes. Start recovers it.
func (s *Server) Kill() { s.process.Kill() }

// Running reports whether the server's process runs.
func (s *Server) Running() bool { return s.process.Running() }

// Done returns a channel that is closed when the server's present process has ended.
func (s *Server) Done() <-chan struct{} { return s.process.Done() }

// Close ends the server at once and removes its files. It is idempotent.
func (s *Server) Close() error { return s.home.Close() }
