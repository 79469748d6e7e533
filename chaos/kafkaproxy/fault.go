package kafkaproxy

import (
	"context"
	"fmt"
	"slices"
)

// Fault affects a number of requests: produce requests, or those that
// [Cluster.Deny] names. A request counts only once the fault has been applied
// to the end. If the connection ended before, or the fault does not apply to
// the answer, the next request takes its place.
type Fault struct {
	cluster *Cluster
	kind    kind
	key     int16 // of the request
	code    int16
	brokers []*broker

	// Guarded by the cluster's lock: left + in progress + used = n.
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
// their partitions. No broker gets these requests.
func (c *Cluster) Answer(code int16, n int, ids ...int32) (*Fault, error) {
	return c.arm(&Fault{kind: answering, code: code, n: n}, ids)
}

// Mask passes the next n produce requests on, and replaces success by an error
// code in their answers: the records are in the log, but their sender gets an
// error.
func (c *Cluster) Mask(code int16, n int, ids ...int32) (*Fault, error) {
	return c.arm(&Fault{kind: masking, code: code, n: n}, ids)
}

// Swallow passes the next n produce requests on, waits for their success, and
// then resets the client's connection instead of answering.
func (c *Cluster) Swallow(n int, ids ...int32) (*Fault, error) {
	return c.arm(&Fault{kind: swallowing, n: n}, ids)
}

// Hold keeps the next n produce requests until [Cluster.Release], even if their
// connections end. After a held request, nothing else passes on its connection.
func (c *Cluster) Hold(n int, ids ...int32) (*Fault, error) {
	return c.arm(&Fault{kind: holding, n: n}, ids)
}

// arm makes a fault affect requests from now on.
func (c *Cluster) arm(f *Fault, ids []int32) (*Fault, error) {
	var err error
	if f.brokers, err = c.some(ids); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		f.brokers = nil // all, and also brokers that join later
	}
	if f.n < 1 {
		return nil, fmt.Errorf("arm a fault for %d requests: it must be at least one", f.n)
	}
	f.cluster, f.left, f.done = c, f.n, make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, f)
	return f, nil
}

// meet returns the fault that affects a request to a broker, nil if none does.
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

// spend counts a request that the fault was applied to. f may be nil.
func (f *Fault) spend() {
	if f == nil {
		return
	}
	f.cluster.mu.Lock()
	defer f.cluster.mu.Unlock()
	f.used++
	f.settle()
}

// restore lets the fault affect another request instead of one that it was not
// applied to. f may be nil.
func (f *Fault) restore() {
	if f == nil {
		return
	}
	f.cluster.mu.Lock()
	defer f.cluster.mu.Unlock()
	if slices.Contains(f.cluster.faults, f) { // otherwise it was cancelled
		f.left++
	}
}

// settle ends a fault that has affected all of its requests.
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

// Done returns a channel that is closed when the fault has affected n requests,
// or was cancelled.
func (f *Fault) Done() <-chan struct{} { return f.done }

// Wait waits for Done. If ctx ends first, the error says how many requests the
// fault has affected.
func (f *Fault) Wait(ctx context.Context) error {
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until a fault has affected %d requests: %d so far: %w", f.n, f.Used(), context.Cause(ctx))
	}
}

// Used returns how many requests the fault has affected.
func (f *Fault) Used() int {
	f.cluster.mu.Lock()
	defer f.cluster.mu.Unlock()
	return f.used
}

// Cancel ends a fault: it affects no further request. A request in progress may
// still be affected.
func (f *Fault) Cancel() {
	f.cluster.mu.Lock()
	defer f.cluster.mu.Unlock()
	f.left = 0
	f.retire()
}
