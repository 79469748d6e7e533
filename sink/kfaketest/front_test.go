package kfaketest

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"walpost/sink/internal/sinktest"
)

// front is a proxy in front of the brokers, which tell clients its addresses instead of their own. It forwards all requests unchanged,
// except produce requests, which it passes to serve.
type front struct {
	t     testing.TB
	serve func(node int32, req *kmsg.ProduceRequest) (kmsg.Response, error)
	work  sync.WaitGroup

	mu    sync.Mutex
	inner map[string]string // a broker's own address by the one that clients know
	nodes int32
}

// listener is a broker's own listener, but reports the front's address.
type listener struct {
	net.Listener
	addr net.Addr
}

func (l *listener) Addr() net.Addr { return l.addr }

// listen gives the next broker its listener.
func (f *front) listen(network, address string) (net.Listener, error) {
	own, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	outer, err := net.Listen(network, "127.0.0.1:0")
	if err != nil {
		own.Close()
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.nodes
	f.nodes++
	f.inner[outer.Addr().String()] = own.Addr().String()
	f.t.Cleanup(func() { outer.Close() })
	f.work.Go(func() {
		for {
			conn, err := outer.Accept()
			if err != nil {
				return
			}
			f.work.Go(func() { f.carry(node, conn, own.Addr().String()) })
		}
	})
	return &listener{own, outer.Addr()}, nil
}

// dial connects to a broker directly, by the address that clients know.
func (f *front) dial(ctx context.Context, network, address string) (net.Conn, error) {
	f.mu.Lock()
	address = f.inner[address]
	f.mu.Unlock()
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// carry serves a connection, one request after the other. It ends with a request that must not be answered.
func (f *front) carry(node int32, conn net.Conn, own string) {
	defer conn.Close()
	broker, err := net.Dial("tcp", own)
	if err != nil {
		return // the cluster is closed
	}
	defer broker.Close()
	for {
		request, err := sinktest.Frame(conn)
		if err != nil {
			return
		}
		var answer []byte
		if binary.BigEndian.Uint16(request[4:]) == uint16(kmsg.Produce) {
			answer, err = f.produce(node, request)
		} else if _, err = broker.Write(request); err == nil {
			answer, err = sinktest.Frame(broker)
		}
		if err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// produce parses a request, and builds its answer:
//
//	length key version correlation client
//	4      2   2       4           2+n
func (f *front) produce(node int32, request []byte) ([]byte, error) {
	be := binary.BigEndian
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(int16(be.Uint16(request[6:])))
	if err := req.ReadFrom(request[14+int(be.Uint16(request[12:])):]); err != nil {
		f.t.Errorf("read a produce request: %v", err)
		return nil, err
	}
	resp, err := f.serve(node, req)
	if err != nil {
		return nil, err
	}
	answer := resp.AppendTo(append(make([]byte, 4, 100), request[8:12]...))
	be.PutUint32(answer, uint32(len(answer)-4))
	return answer, nil
}
