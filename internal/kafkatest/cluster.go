package kafkatest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"walpost/internal/testenv/child"
)

// patience is how long one step of a start may take. It takes two seconds on an idle machine, but a minute was not enough on two cores with
// thirty busy processes. If a broker ends, the start fails at once.
const patience = 3 * time.Minute

// Cluster is one or more brokers for one caller alone. Nodes are numbered from 1, as in Kafka's metadata. Only one goroutine may use it at
// a time, except for methods that only return information.
type Cluster struct {
	home      *child.Home
	program   program
	java      []string // the virtual machine's options
	logging   string
	nodes     []node
	processes []*child.Process // by node, from 0
}

// Launch starts brokers with empty data. When Launch returns, they are up and know each other. Close ends them. The error is a [need.Lack]
// if no broker is available on this machine.
func Launch(ctx context.Context, o Options) (*Cluster, error) {
	found, err := find(ctx)
	if err != nil {
		return nil, err
	}
	home, err := child.NewHome("walpost-kafka-", nil)
	if err != nil {
		return nil, fmt.Errorf("make a folder for Kafka: %w", err)
	}
	c := &Cluster{home: home, program: found, java: o.machine()}
	// The ports are not reserved while the format runs, so another process may take one. Then everything is repeated on other ports.
	for range 3 {
		if err = c.launch(ctx, o); err == nil || !strings.Contains(err.Error(), "already in use") {
			break
		}
		c.killAll()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start Kafka %s: %w", Version, err), home.Close())
	}
	return c, nil
}

func (c *Cluster) launch(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := c.number(max(1, o.Nodes)); err != nil {
		return err
	}
	if err := c.format(ctx, o); err != nil {
		return err
	}
	for _, n := range c.nodes {
		if err := c.start(n); err != nil {
			return err
		}
	}
	return c.awaitUp(ctx, c.nodes)
}

// number creates the nodes with their numbers and ports.
func (c *Cluster) number(count int) error {
	ports, err := child.FreePorts(3 * count)
	if err != nil {
		return err
	}
	c.nodes, c.processes = nil, make([]*child.Process, count)
	for i := range count {
		c.nodes = append(c.nodes, node{id: i + 1, client: ports[3*i], internal: ports[3*i+1], controller: ports[3*i+2]})
	}
	return nil
}

// format writes each node's properties and its empty, numbered data folder.
func (c *Cluster) format(ctx context.Context, o Options) error {
	var err error
	if c.logging, err = c.home.WriteFile("log4j2.properties", []byte(logging)); err != nil {
		return err
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails, by its documentation
	raw[0] &= 0x7f           // otherwise the id may begin with a dash and look like an option
	cluster := base64.RawURLEncoding.EncodeToString(raw[:])
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		if err := os.RemoveAll(c.file(n, "data")); err != nil {
			return err
		}
		text := o.properties(n, c.nodes, c.file(n, "data"))
		config, err := c.home.WriteFile(fmt.Sprintf("node%d.properties", n.id), []byte(text))
		if err != nil {
			return err
		}
		args := append([]string{"format", "--cluster-id", cluster, "--config", config}, o.Format...)
		group.Go(func() error {
			_, err := c.home.Run(ctx, c.program.java, os.Environ(), c.program.arguments(smallJava, c.logging, "kafka.tools.StorageTool", args...)...)
			return err
		})
	}
	return group.Wait()
}

// start starts a node's process and does not wait until it is up.
func (c *Cluster) start(n node) error {
	process, err := c.home.Start(child.Spec{
		Path:  c.program.java,
		Args:  c.program.arguments(c.java, c.logging, "kafka.Kafka", c.file(n, "properties")),
		Env:   os.Environ(),
		Log:   c.file(n, "log"),
		Death: syscall.SIGKILL,
	})
	if err != nil {
		return err
	}
	c.processes[n.id-1] = process
	return nil
}

func (c *Cluster) file(n node, kind string) string {
	return c.home.Path(fmt.Sprintf("node%d.%s", n.id, kind))
}

func (c *Cluster) killAll() {
	for _, p := range c.processes {
		if p != nil {
			p.Kill()
		}
	}
}

// Brokers returns the addresses for clients, one for each node, whether it runs or not.
func (c *Cluster) Brokers() []string {
	return c.addresses(func(n node) int { return n.client })
}

// Internal returns the addresses of the brokers' internal listeners, for a test's own queries. They are always plain, with any protocol for
// clients.
func (c *Cluster) Internal() []string {
	return c.addresses(func(n node) int { return n.internal })
}

func (c *Cluster) addresses(port func(node) int) []string {
	var list []string
	for _, n := range c.nodes {
		list = append(list, child.Address(port(n)))
	}
	return list
}

// Log returns a node's log since its first start, at most the last mebibyte.
func (c *Cluster) Log(id int) string {
	n, err := c.node(id)
	if err != nil {
		return err.Error()
	}
	return child.Tail(c.file(n, "log"))
}

// Close ends all nodes at once and removes their files. It is idempotent.
func (c *Cluster) Close() error { return c.home.Close() }

func (c *Cluster) node(id int) (node, error) {
	if id < 1 || id > len(c.nodes) {
		return node{}, fmt.Errorf("no Kafka node %d: they are numbered from 1 to %d", id, len(c.nodes))
	}
	return c.nodes[id-1], nil
}
