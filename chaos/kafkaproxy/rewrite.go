package kafkaproxy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The requests whose answers are looked into, by their keys in Kafka's
// protocol.
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

	// leaderHintProduce is the version from which a produce answer says where
	// the leader is.
	leaderHintProduce = 10
	// newestFetch is the last version whose answer does not.
	newestFetch = 15

	unsupportedVersion = 35
)

// decoder is what the answer is to be decoded into; nil when it passes as it
// is.
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
		return nil, malformedf("version %d of %s is not known here", x.version, kmsg.NameForKey(x.key))
	}
	answer.SetVersion(x.version)
	return answer, nil
}

// passChanged passes an answer on with the addresses of the proxies in it, or
// with what a fault makes of it.
func (l *link) passChanged(x *exchange, answer kmsg.Response, r *bufio.Reader, n int) error {
	frame, err := l.whole(r, n, l.down)
	if err != nil {
		return err
	}
	bodyAt := answerStart
	if answer.IsFlexible() && x.key != apiVersionsKey { // which must be read before versions are agreed on
		if bodyAt, err = skipTags(cursor(frame), bodyAt); err != nil {
			return malformedf("the head of an answer to %s: %w", kmsg.NameForKey(x.key), err)
		}
	}
	if x.key == apiVersionsKey && len(frame) >= bodyAt+2 && binary.BigEndian.Uint16(frame[bodyAt:]) == unsupportedVersion {
		return l.write(frame) // this is in version 0, and says only what to ask instead
	}
	if err := answer.ReadFrom(frame[bodyAt:]); err != nil {
		return malformedf("an answer to version %d of %s: %w", x.version, kmsg.NameForKey(x.key), err)
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
		if id < 0 { // nobody
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
		if answer.EndpointType == 2 { // controllers: no client of ours goes there
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

// restrict offers only versions whose answers can be rewritten. The newer
// fetches tell of leaders by themselves, and are too large to look into.
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
