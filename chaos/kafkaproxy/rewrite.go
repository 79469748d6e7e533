package kafkaproxy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The keys, in Kafka's protocol, of the requests whose answers are decoded.
const (
	produceKey         = 0
	fetchKey           = 1
	metadataKey        = 3
	findCoordinatorKey = 10
	apiVersionsKey     = 18
	initProducerIDKey  = 22
	describeClusterKey = 60
	shareFetchKey      = 78
	shareAckKey        = 79

	// leaderHintProduce is the version from which a produce answer has the
	// leader's address.
	leaderHintProduce = 10
	// newestFetch is the last version of a fetch whose answer does not have it.
	newestFetch = 15

	unsupportedVersion = 35
)

// decoder returns the value that the answer is decoded into; nil if the answer
// passes unchanged.
func (x *exchange) decoder() (kmsg.Response, error) {
	switch x.key {
	case metadataKey, findCoordinatorKey, apiVersionsKey, describeClusterKey:
	case produceKey:
		if x.fault == nil && x.version < leaderHintProduce {
			return nil, nil
		}
	case initProducerIDKey:
		if x.fault == nil {
			return nil, nil
		}
	default:
		return nil, nil
	}
	answer := kmsg.ResponseForKey(x.key)
	if x.version < 0 || x.version > answer.MaxVersion() {
		return nil, malformedf("read an answer to %s: the proxy does not know version %d", kmsg.NameForKey(x.key), x.version)
	}
	answer.SetVersion(x.version)
	return answer, nil
}

// passChanged passes an answer on, with the addresses of the proxies in it and
// with the change of a fault.
func (l *link) passChanged(x *exchange, answer kmsg.Response, r *bufio.Reader, n int) error {
	frame, err := l.whole(r, n, l.down)
	if err != nil {
		return err
	}
	bodyAt := answerStart
	if answer.IsFlexible() && x.key != apiVersionsKey { // its head has no tags, because it is read before versions are agreed on
		if bodyAt, err = skipTags(cursor(frame), bodyAt); err != nil {
			return malformedf("read the head of an answer to %s: %w", kmsg.NameForKey(x.key), err)
		}
	}
	if x.key == apiVersionsKey && len(frame) >= bodyAt+2 && binary.BigEndian.Uint16(frame[bodyAt:]) == unsupportedVersion {
		return l.write(frame) // it has version 0, and only the versions that the client may use
	}
	if err := answer.ReadFrom(frame[bodyAt:]); err != nil {
		return malformedf("read an answer to version %d of %s: %w", x.version, kmsg.NameForKey(x.key), err)
	}
	changed, err := l.broker.cluster.change(x, answer)
	if err != nil {
		return err
	}
	if changed {
		frame = answer.AppendTo(slices.Clip(frame[:bodyAt]))
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	}
	return l.write(frame)
}

// write writes an answer to the client.
func (l *link) write(frame []byte) error {
	if !l.down.pass(l.ended) {
		return net.ErrClosed
	}
	_, err := l.client.Write(frame)
	return err
}

// change changes an answer, and reports whether it did.
func (c *Cluster) change(x *exchange, answer kmsg.Response) (bool, error) {
	var errs []error
	lead := func(id int32, host *string, port *int32) {
		if id < 0 { // no broker
			return
		}
		b, err := c.at(id, *host, *port)
		if err != nil {
			errs = append(errs, err)
			return
		}
		address := b.listener.Addr().(*net.TCPAddr)
		*host, *port = address.IP.String(), int32(address.Port)
	}
	switch answer := answer.(type) {
	case *kmsg.MetadataResponse:
		for i := range answer.Brokers {
			b := &answer.Brokers[i]
			lead(b.NodeID, &b.Host, &b.Port)
		}
		x.deny(answer)
	case *kmsg.InitProducerIDResponse:
		x.deny(answer)
	case *kmsg.FindCoordinatorResponse:
		if answer.Version < 4 {
			if answer.ErrorCode == 0 {
				lead(answer.NodeID, &answer.Host, &answer.Port)
			}
			break
		}
		for i := range answer.Coordinators {
			if f := &answer.Coordinators[i]; f.ErrorCode == 0 {
				lead(f.NodeID, &f.Host, &f.Port)
			}
		}
	case *kmsg.DescribeClusterResponse:
		if answer.EndpointType == 2 { // controllers: clients do not connect to them
			return false, nil
		}
		for i := range answer.Brokers {
			b := &answer.Brokers[i]
			lead(b.NodeID, &b.Host, &b.Port)
		}
	case *kmsg.ApiVersionsResponse:
		restrict(answer)
	case *kmsg.ProduceResponse:
		for i := range answer.Brokers {
			b := &answer.Brokers[i]
			lead(b.NodeID, &b.Host, &b.Port)
		}
		masked, err := x.spoil(answer)
		return masked || len(answer.Brokers) > 0, errors.Join(append(errs, err)...)
	}
	return true, errors.Join(errs...)
}

// restrict offers only versions whose answers can be rewritten. Answers to newer
// fetches have addresses of leaders, and are too large to decode.
func restrict(answer *kmsg.ApiVersionsResponse) {
	answer.ApiKeys = slices.DeleteFunc(answer.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool {
		return k.ApiKey == shareFetchKey || k.ApiKey == shareAckKey
	})
	for i := range answer.ApiKeys {
		k := &answer.ApiKeys[i]
		switch k.ApiKey {
		case fetchKey:
			k.MaxVersion = min(k.MaxVersion, newestFetch)
		case produceKey, metadataKey, findCoordinatorKey, apiVersionsKey, initProducerIDKey, describeClusterKey:
			k.MaxVersion = min(k.MaxVersion, kmsg.ResponseForKey(k.ApiKey).MaxVersion())
		}
	}
}
