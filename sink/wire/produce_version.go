package wire

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"
)

// Versions of produce requests. From 3 on, a request has record batches. From 3 to 8, the layout is the same. From 7 on, batches may be
// compressed with zstd. From 8 on, the answer names bad records. From 9 on, requests are "flexible": lengths are varints, and tags follow.
//
// Brokers that are not Apache Kafka offer fewer versions (Redpanda and Event Hubs 0 to 7), and one day Kafka will have dropped 8. Versions
// after 9 bring nothing that is used here.
const (
	oldestProduce   = 3
	zstdProduce     = 7
	usualProduce    = 8
	flexibleProduce = 9
)

// produceRange is the range of versions that a broker offers. The zero value is a broker that offers none.
type produceRange struct{ oldest, newest int16 }

// version returns the version to send to a broker with this range, or 0 if there is none.
func (r produceRange) version() int16 {
	switch {
	case r.newest < oldestProduce || r.oldest > flexibleProduce:
		return 0
	case r.oldest > usualProduce:
		return flexibleProduce
	}
	return min(r.newest, usualProduce)
}

// mismatch returns the reason why batches cannot be sent to a broker with this range, or nil if they can.
func (r produceRange) mismatch(addr string, zstd bool) error {
	switch v := r.version(); {
	case v == 0 && r.oldest > flexibleProduce:
		return &Mismatch{fmt.Sprintf("%s offers produce requests of versions %d to %d, and walpost sends %d to %d", addr, r.oldest, r.newest, oldestProduce, flexibleProduce),
			"use a newer walpost, or brokers that accept a version that it sends"}
	case v == 0:
		return &Mismatch{fmt.Sprintf("%s offers produce requests of versions %d to %d, and walpost sends %d to %d", addr, r.oldest, r.newest, oldestProduce, flexibleProduce),
			"use brokers of Kafka 2.8 or newer, or other brokers that accept a version that walpost sends"}
	case zstd && v < zstdProduce:
		return &Mismatch{fmt.Sprintf("%s offers produce requests of versions %d to %d, and zstd needs %d", addr, r.oldest, r.newest, zstdProduce),
			"set kafka.compression.type to another codec: lz4, snappy, gzip or none"}
	}
	return nil
}

// CheckProduce asks a broker which produce requests it accepts. It returns a [*Mismatch] if batches cannot be sent there. With zstd, that
// means batches with zstd.
func CheckProduce(b *sarama.Broker, zstd bool) error {
	r, err := askProduceRange(b)
	if err != nil {
		return err
	}
	return r.mismatch(b.Addr(), zstd)
}

func askProduceRange(b *sarama.Broker) (produceRange, error) {
	res, err := b.ApiVersions(&sarama.ApiVersionsRequest{}) // sarama has asked too, but does not export the answer
	if errors.Is(err, sarama.ErrUnsupportedVersion) {       // the broker does not list this request among those that it accepts; sarama knows the range
		return produceRange{newest: usualProduce}, nil
	}
	if err != nil {
		return produceRange{}, err
	}
	if code := sarama.KError(res.ErrorCode); code != sarama.ErrNoError {
		return produceRange{}, code
	}
	for _, k := range res.ApiKeys {
		if k.ApiKey == produceKey {
			return produceRange{k.MinVersion, k.MaxVersion}, nil
		}
	}
	return produceRange{}, nil
}
