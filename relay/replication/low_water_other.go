//go:build !linux

package replication

import "net"

// lowWater returns nil, so that reads are ordinary: other systems have no low-water mark, or their poller ignores it.
func lowWater(net.Conn) func(bytes int) error { return nil }
