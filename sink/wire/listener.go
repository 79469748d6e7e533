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

// A listener that is spoken to in another way than its own hangs up without a word, and so does a broker that is starting behind a load
// balancer. Only a person can cure the first; time cures the second. So we ask the same address in the other way: an answer is a proof,
// anything else is none.

// Mismatch is the error of a listener that is spoken to in another way than its own. It was proven, and no retry helps.
type Mismatch struct {
	what string
	Cure string // what a person can do about it
}

// Error says what the listener speaks, and what it is spoken to in.
func (m *Mismatch) Error() string { return m.what }

// probeEvery is how often an address is asked.
const probeEvery = 5 * time.Second

// CheckListener returns a [*Mismatch] if the connection to addr failed because of one, else err. It asks an address at most every five
// seconds.
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
			"set it to what is enabled there: " + strings.Join(offered, ", ")}
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
			fmt.Sprintf("set it to SASL_%s, and kafka.sasl.mechanism to one of those that are enabled there: %s", protocol, strings.Join(offered, ", "))}
	}
	return err
}

// anonymous, unencrypted and encrypted return the protocol that differs in one thing: without login, without TLS, with it.
func anonymous(protocol string) string   { return strings.TrimPrefix(protocol, "SASL_") }
func unencrypted(protocol string) string { return strings.TrimSuffix(protocol, "SSL") + "PLAINTEXT" }
func encrypted(protocol string) string   { return strings.TrimSuffix(protocol, "PLAINTEXT") + "SSL" }

// mayProbe reports whether err may come of a mismatch, and whether the address may be asked now.
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

// HungUp reports whether the peer took the connection and ended it. An answer that is none of Kafka's is the alert of a TLS server.
func HungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.As(err, new(sarama.PacketDecodingError)) || errors.As(err, new(tls.RecordHeaderError))
}

// speaksPlainText reports whether the listener answers a question in plain text.
func (s *Splicer) speaksPlainText(ctx context.Context, addr string) bool {
	conn, err := s.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_, err = ask(ctx, conn, apiVersionsKey, 0, nil)
	return err == nil
}

// speaksTLS reports whether the listener takes part in a handshake. Nothing is sent behind it, so whoever that is learns nothing.
func (s *Splicer) speaksTLS(ctx context.Context, addr string) bool {
	conn, err := s.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	host, _, _ := net.SplitHostPort(addr)
	err = tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}).HandshakeContext(ctx)
	var op *net.OpError
	return err == nil || errors.As(err, &op) && op.Op == "remote error" // an alert, such as for want of a certificate
}

// asksForLogin reports whether the listener, which is connected to as configured, begins with a login, and which mechanisms are enabled.
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
	slices.Sort(mechanisms) // the broker's order is chance
	return mechanisms, true
}

// API keys.
const (
	produceKey          = 0
	saslHandshakeKey    = 17
	apiVersionsKey      = 18
	saslAuthenticateKey = 36
)

// ask sends one request, with a header of version 1, and returns what stands behind the answer's header.
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
	const most = 64 << 10 // far more than such an answer has
	length := be.Uint32(head[:])
	if length < 4 || length > most || be.Uint32(head[4:]) != correlation {
		return nil, errors.New("no answer of Kafka's")
	}
	answer := make([]byte, length-4)
	_, err := io.ReadFull(conn, answer)
	return answer, err
}
