package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/testenv/child"
)

// Kill crashes a node with SIGKILL.
func (c *Cluster) Kill(id int) error {
	n, err := c.node(id)
	if err != nil {
		return err
	}
	c.processes[n.id-1].Kill()
	return nil
}

// Stop stops a node with SIGTERM, and waits for its end until ctx ends. The node first moves its partitions to other nodes.
func (c *Cluster) Stop(ctx context.Context, id int) error {
	if err := c.signal(id, syscall.SIGTERM); err != nil {
		return err
	}
	return c.processes[id-1].Wait(ctx)
}

// StartNode starts a node that was stopped or killed, on its data and ports.
// It is up when StartNode returns.
func (c *Cluster) StartNode(ctx context.Context, id int) error {
	n, err := c.node(id)
	if err != nil || c.processes[id-1].Running() {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := c.start(n); err != nil {
		return err
	}
	return c.awaitUp(ctx, []node{n})
}

// Set changes a property of a stopped node, for its next start.
func (c *Cluster) Set(id int, name, value string) error {
	n, err := c.node(id)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(c.file(n, "properties"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s=%s\n", name, value) // if a name is repeated, the last line counts
	return errors.Join(err, f.Close())
}

// Freeze suspends a node's process: its connections stay open, but it does not answer.
func (c *Cluster) Freeze(id int) error { return c.signal(id, syscall.SIGSTOP) }

// Thaw resumes a frozen node.
func (c *Cluster) Thaw(id int) error { return c.signal(id, syscall.SIGCONT) }

func (c *Cluster) signal(id int, signal syscall.Signal) error {
	n, err := c.node(id)
	if err != nil {
		return err
	}
	return c.processes[n.id-1].Signal(signal)
}

// awaitUp waits until the metadata of each of the nodes has all running nodes.
func (c *Cluster) awaitUp(ctx context.Context, nodes []node) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, n := range nodes {
		for {
			err := c.sees(n, c.running())
			if err == nil {
				break
			}
			select {
			case <-c.processes[n.id-1].Done():
				return fmt.Errorf("node %d ended: %w\n%s", n.id, c.processes[n.id-1].Err(), c.Log(n.id))
			case <-ctx.Done():
				return fmt.Errorf("node %d is not up: %w\n%s", n.id, err, c.Log(n.id))
			case <-tick.C:
			}
		}
	}
	return nil
}

// running returns the ids of the nodes whose process runs.
func (c *Cluster) running() []int32 {
	var ids []int32
	for i, p := range c.processes {
		if p != nil && p.Running() {
			ids = append(ids, int32(i+1))
		}
	}
	return ids
}

// sees reports whether a node's own metadata has all of the ids.
func (c *Cluster) sees(n node, ids []int32) error {
	metadata, err := ask(child.Address(n.internal), nil)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(metadata.Brokers, func(b *sarama.Broker) bool { return b.ID() == id }) {
			return fmt.Errorf("its metadata has no node %d", id)
		}
	}
	return nil
}
