package replication

import (
	"errors"
	"net"
	"syscall"
)

// lowWater returns a function that sets the low-water mark (SO_RCVLOWAT) of the TCP socket under c, with or without TLS: how many bytes
// must have arrived before a waiting read is woken. It returns nil if c has no TCP socket.
func lowWater(c net.Conn) func(bytes int) error {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return func(bytes int) error {
		var set error
		err := raw.Control(func(fd uintptr) {
			set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes)
		})
		return errors.Join(err, set)
	}
}
