//go:build !linux

package replication

import "net"

// lowWater returns nil: other systems have no low-water mark, or one that their poller ignores. Reads are plain there.
func lowWater(net.Conn) func(bytes int) error { return nil }
