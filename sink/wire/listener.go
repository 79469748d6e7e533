package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/IBM/sarama"
)

// If a client uses another protocol than a listener expects, the listener closes the connection without a message. A broker that is
// starting behind a load balancer does the same. Only a person can cure the first case; the second one ends by itself. So we probe the same
// address with the other protocol. An answer proves a mismatch, and nothing else does.

// Mismatch is the error of a listener that expects another protocol than the configured one, or that does not support what walpost needs.
// It is proven, and no retry helps.
type Mismatch struct {
	what string
	Cure string // what a person can do about it
}

// Error names what the listener expects, and what is configured.
func (m *Mismatch) Error() string { return m.what }

// probeEvery is the least time between two probes of an address.
const probeEvery = 5 * time.Second

// CheckListener returns a [*Mismatch] if that is why the connection to addr failed with err, and otherwise err. It probes an address at
// most every five seconds.
func (s *Splicer) CheckListener(addr string, err error) error {
	if s.access == nil || !s.mayProbe(addr, err) {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
	defer cancel()
	sec := s.access.Security()
	protocol := max(sec.Protocol, "PLAINTEXT")
	switch {
	case errors.Is(err, sarama.ErrIllegalSASLState):
		return &Mismatch{"the listener takes no logins, and kafka.security.protocol is " + protocol,
			"set it to " + anonymous(protocol) + ", or name another listener's port in kafka.bootstrap.servers"}
	case errors.Is(err, sarama.ErrUnsupportedSASLMechanism):
		offered, ok := s.asksForLogin(ctx, addr)
		if !ok || len(offered) == 0 {
			return err
		}
		return &Mismatch{"the listener does not know kafka.sasl.mechanism " + sec.Mechanism,
			"set it to a mechanism that is enabled there: " + strings.Join(offered, ", ")}
	case sec.SSL() && s.speaksPlainText(ctx, addr):
		return &Mismatch{"the listener speaks plain text, and kafka.security.protocol is " + protocol,
			"set it to " + unencrypted(protocol) + ", or name a listener with TLS in kafka.bootstrap.servers"}
	case !sec.SSL() && s.speaksTLS(ctx, addr):
		return &Mismatch{"the listener speaks TLS, and kafka.security.protocol is " + protocol,
			"set it to " + encrypted(protocol) + ", or name a listener without TLS in kafka.bootstrap.servers"}
	case sec.SASL():
		return err
	}
	if offered, ok := s.asksForLogin(ctx, addr); ok {
		return &Mismatch{"the listener wants a login, and kafka.security.protocol is " + protocol,
			fmt.Sprintf("set it to SASL_%s, and kafka.sasl.mechanism to one that is enabled there: %s", protocol, strings.Join(offered, ", "))}
	}
	return err
}

// anonymous, unencrypted and encrypted return the same protocol with one change: without login, without TLS, or with TLS.
func anonymous(protocol string) string   { return strings.TrimPrefix(protocol, "SASL_") }
func unencrypted(protocol string) string { return strings.TrimSuffix(protocol, "SSL") + "PLAINTEXT" }
func encrypted(protocol string) string   { return strings.TrimSuffix(protocol, "PLAINTEXT") + "SSL" }

// mayProbe reports whether err may come from a mismatch, and whether the address may be probed now.
func (s *Splicer) mayProbe(addr string, err error) bool {
	if !HungUp(err) && !errors.Is(err, sarama.ErrIllegalSASLState) && !errors.Is(err, sarama.ErrUnsupportedSASLMechanism) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.probed[addr]; ok && time.Since(last) < probeEvery {
		return false
	}
	s.probed[addr] = time.Now()
	return true
}

// HungUp reports whether the peer accepted the connection and then closed it. An answer that is not Kafka's protocol is the alert of a TLS
// server.
func HungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.As(err, new(sarama.PacketDecodingError)) || errors.As(err, new(tls.RecordHeaderError))
}

// speaksPlainText reports whether the listener answers a request in plain text.
func (s *Splicer) speaksPlainText(ctx context.Context, addr string) bool {
	conn, err := s.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_, err = ask(ctx, conn, apiVersionsKey, 0, nil)
	return err == nil
}

// speaksTLS reports whether the listener takes part in a TLS handshake. Nothing is sent after the handshake, so an unknown peer learns
// nothing.
func (s *Splicer) speaksTLS(ctx context.Context, addr string) bool {
	conn, err := s.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	host, _, _ := net.SplitHostPort(addr)
	err = tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}).HandshakeContext(ctx)
	var op *net.OpError
	return err == nil || errors.As(err, &op) && op.Op == "remote error" // an alert, for example because a client certificate is missing
}

// asksForLogin reports whether the listener expects a login, and which mechanisms are enabled. It connects as configured.
func (s *Splicer) asksForLogin(ctx context.Context, addr string) (mechanisms []string, ok bool) {
	conn, err := s.Dial("tcp", addr)
	if err != nil {
		return nil, false
	}
	defer conn.Close()
	answer, err := ask(ctx, conn, saslHandshakeKey, 1, []byte("\x00\x05PLAIN"))
	if err != nil || len(answer) < 6 {
		return nil, false
	}
	be := binary.BigEndian
	if code := sarama.KError(be.Uint16(answer)); code != sarama.ErrNoError && code != sarama.ErrUnsupportedSASLMechanism {
		return nil, false
	}
	count, rest := be.Uint32(answer[2:]), answer[6:]
	for range count {
		if len(rest) < 2 || len(rest)-2 < int(be.Uint16(rest)) {
			return nil, false
		}
		n := 2 + int(be.Uint16(rest))
		mechanisms, rest = append(mechanisms, string(rest[2:n])), rest[n:]
	}
	slices.Sort(mechanisms) // the broker's order is random
	return mechanisms, true
}

// API keys.
const (
	produceKey          = 0
	saslHandshakeKey    = 17
	apiVersionsKey      = 18
	saslAuthenticateKey = 36
)

// ask sends one request, with a header of version 1, and returns what follows the answer's header.
func ask(ctx context.Context, conn net.Conn, key, version uint16, body []byte) ([]byte, error) {
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	const correlation = 0x77616c70
	be := binary.BigEndian
	request := be.AppendUint32(nil, uint32(8+2+len(body)))
	request = be.AppendUint16(be.AppendUint16(request, key), version)
	request = append(be.AppendUint32(request, correlation), 0xff, 0xff) // no client id
	if _, err := conn.Write(append(request, body...)); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	const most = 64 << 10 // far more than such an answer contains
	length := be.Uint32(head[:])
	if length < 4 || length > most || be.Uint32(head[4:]) != correlation {
		return nil, errors.New("the answer is not Kafka's protocol")
	}
	answer := make([]byte, length-4)
	_, err := io.ReadFull(conn, answer)
	return answer, err
}
