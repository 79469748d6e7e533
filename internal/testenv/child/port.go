package child

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are drawn below the range from which systems take the local ports of
// outgoing connections (32768 and up on Linux, 49152 elsewhere). From that
// range, a client that dials a stopped server again and again can be given
// the very port it dials, and holds it when the server wants it back.
const firstPort, lastPort = 15000, 32000

// FreePort finds a port of the loopback address that nobody listens on. It
// is not reserved: whoever binds it must be ready to try another.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		var listener net.Listener
		if listener, err = net.Listen("tcp", Address(port)); err == nil {
			return port, listener.Close()
		}
	}
	return 0, errors.Join(errors.New("find a free port: 100 tries in vain"), err)
}

// Address is host and port of a loopback port.
func Address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// FreePorts finds n different free ports.
func FreePorts(n int) ([]int, error) {
	seen := make(map[int]bool, n)
	ports := make([]int, 0, n)
	for len(ports) < n {
		port, err := FreePort()
		if err != nil {
			return nil, fmt.Errorf("find %d free ports: %w", n, err)
		}
		if !seen[port] {
			seen[port] = true
			ports = append(ports, port)
		}
	}
	return ports, nil
}
