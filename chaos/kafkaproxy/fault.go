package kafkaproxy

import (
	"context"
	"fmt"
	"slices"
)

// Fault is what a number of requests meet, of Produce but for those of
// [Cluster.Deny]. A request counts when it has met it to the end: one whose
// connection ended before, or whose answer was none that the fault applies to,
// leaves its place to another.
type Fault struct {
	cluster *Cluster
	kind    kind
	key     int16 // of the request
	code    int16
	brokers []*broker

	// Under the cluster's lock: left + under way + used = n.
	n, left, used int
	done          chan struct{}
}

type kind uint8

const (
	answering kind = iota
	masking
	swallowing
	holding
	denying
)

// Answer answers the next n produce requests with an error code for each of
// their partitions. Nothing of them reaches a broker.
func (c *Cluster) Answer(code int16, n int, ids ...int32) (*Fault, error) {
	return c.arm(&Fault{kind: answering, code: code, n: n}, ids)
}

// Mask passes the next n produce requests on and puts an error code in the
// place of success: the records are in the log, and their sender is told
// otherwise.
func (c *Cluster) Mask(code int16, n int, ids ...int32) (*Fault, error) {
	return c.arm(&Fault{kind: masking, code: code, n: n}, ids)
}

// Swallow passes the next n produce requests on, awaits their success, and
// resets the client's connection instead of telling it.
func (c *Cluster) Swallow(n int, ids ...int32) (*Fault, error) {
	return c.arm(&Fault{kind: swallowing, n: n}, ids)
}

// Hold keeps the next n produce requests back, whatever becomes of their
// connections, until [Cluster.Release]. A connection carries nothing more
// behind a held request.
func (c *Cluster) Hold(n int, ids ...int32) (*Fault, error) {
	return c.arm(&Fault{kind: holding, n: n}, ids)
}

// arm lets requests meet a fault.
func (c *Cluster) arm(f *Fault, ids []int32) (*Fault, error) {
	var err error
	if f.brokers, err = c.some(ids); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		f.brokers = nil // all, also those to come
	}
	if f.n < 1 {
		return nil, fmt.Errorf("a fault for %d requests: at least one is needed", f.n)
	}
	f.cluster, f.left, f.done = c, f.n, make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, f)
	return f, nil
}

// meet gives the fault that a request to a broker meets, nil if none.
func (c *Cluster) meet(b *broker, key int16, fits func(kind) bool) *Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.faults {
		if f.left > 0 && f.key == key && fits(f.kind) && (f.brokers == nil || slices.Contains(f.brokers, b)) {
			f.left--
			return f
		}
	}
	return nil
}

// spend counts a request that has met the fault. There may be none.
func (f *Fault) spend() {
	if f == nil {
		return
	}
	f.cluster.mu.Lock()
	defer f.cluster.mu.Unlock()
	f.used++
	f.settle()
}

// restore gives back what a request did not use. There may be no fault.
func (f *Fault) restore() {
	if f == nil {
		return
	}
	f.cluster.mu.Lock()
	defer f.cluster.mu.Unlock()
	if slices.Contains(f.cluster.faults, f) { // else it was cancelled
		f.left++
	}
}

// settle ends a fault that is used up.
func (f *Fault) settle() {
	if f.used == f.n {
		f.retire()
	}
}

func (f *Fault) retire() {
	i := slices.Index(f.cluster.faults, f)
	if i < 0 {
		return
	}
	f.cluster.faults = slices.Delete(f.cluster.faults, i, i+1)
	close(f.done)
}

// Done is closed when n requests have met the fault, or it was cancelled.
func (f *Fault) Done() <-chan struct{} { return f.done }

// Wait waits for Done. Its error says how far the fault has come when ctx
// ends first.
func (f *Fault) Wait(ctx context.Context) error {
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for requests to meet a fault: %d of %d have: %w", f.Used(), f.n, context.Cause(ctx))
	}
}

// Used is how many requests have met the fault.
func (f *Fault) Used() int {
	f.cluster.mu.Lock()
	defer f.cluster.mu.Unlock()
	return f.used
}

// Cancel ends a fault: no further request meets it. One that is under way may
// still.
func (f *Fault) Cancel() {
	f.cluster.mu.Lock()
	defer f.cluster.mu.Unlock()
	f.left = 0
	f.retire()
}
