package kafkaproxy

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// heldRequest is a produce request that no broker has seen yet.
type heldRequest struct {
	broker *broker
	request
	frame []byte
}

func (c *Cluster) keep(h *heldRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = append(c.held, h)
}

// Held returns how many requests are held.
func (c *Cluster) Held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.held)
}

// Release sends the held requests to their brokers, in the order in which they
// came, each over a connection of its own. It waits for the answers and drops
// them. A request that could not be delivered is in the error, and is not held
// any more.
func (c *Cluster) Release(ctx context.Context) error {
	c.mu.Lock()
	list := c.held
	c.held = nil
	c.mu.Unlock()
	var errs []error
	for _, h := range list {
		if err := h.deliver(ctx); err != nil {
			errs = append(errs, fmt.Errorf("deliver a held request to broker %d: %w", h.broker.id, err))
		}
	}
	return errors.Join(errs...)
}

// deliver sends the request and reads its answer.
func (h *heldRequest) deliver(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	conn, err := h.broker.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, ends := range []context.Context{ctx, h.broker.cluster.ctx} {
		defer context.AfterFunc(ends, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	}
	if _, err := conn.Write(h.frame); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	start, err := r.Peek(answerStart)
	if err != nil {
		return fmt.Errorf("wait for the answer: %w", err)
	}
	if id := int32(binary.BigEndian.Uint32(start[4:])); id != h.correlation {
		return fmt.Errorf("the answer has correlation id %d, not %d", id, h.correlation)
	}
	if _, err := io.CopyN(io.Discard, r, 4+int64(binary.BigEndian.Uint32(start))); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}
