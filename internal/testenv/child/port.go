package child

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are chosen below the range of local ports for outgoing connections (32768 and up on Linux, 49152 elsewhere). With a port in that
// range, a client that dials a stopped server again and again can get that same port as its local port. Then the server cannot listen there
// again.
const firstPort, lastPort = 15000, 32000

// FreePort returns a port of the loopback address on which nothing listens. The port is not reserved: if binding it fails, try another one.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		var listener net.Listener
		if listener, err = net.Listen("tcp", Address(port)); err == nil {
			return port, listener.Close()
		}
	}
	return 0, errors.Join(errors.New("find a free port: 100 attempts failed"), err)
}

// Address returns host and port for a loopback port.
func Address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// FreePorts returns n different free ports.
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
