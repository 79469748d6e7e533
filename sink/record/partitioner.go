package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/fnv"
)

// Partitioner chooses a partition by the key.
type Partitioner uint8

// The partitioners, and the producers that they agree with.
const (
	Murmur2 Partitioner = iota // Java clients
	CRC32                      // librdkafka's consistent
	FNV1a                      // sarama's default
)

// ParsePartitioner returns a partitioner by its name in the configuration.
func ParsePartitioner(name string) (Partitioner, error) {
	switch name {
	case "murmur2":
		return Murmur2, nil
	case "crc32":
		return CRC32, nil
	case "fnv1a":
		return FNV1a, nil
	}
	return Murmur2, fmt.Errorf("partitioner %q: unknown; one of murmur2, crc32, fnv1a", name)
}

// Partition returns the partition of key in a topic with count partitions.
func (p Partitioner) Partition(key []byte, count int32) int32 {
	switch p {
	case CRC32:
		return int32(crc32.ChecksumIEEE(key) % uint32(count))
	case FNV1a:
		h := fnv.New32a()
		h.Write(key)
		return max(int32(h.Sum32())%count, -(int32(h.Sum32()) % count))
	default:
		return int32(murmur2(key)&0x7fffffff) % count
	}
}

// murmur2 is the hash of Java's producers (32-bit MurmurHash2 with Kafka's seed).
func murmur2(key []byte) uint32 {
	const m, seed = 0x5bd1e995, 0x9747b28c
	h := uint32(seed) ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := binary.LittleEndian.Uint32(key) * m
		h = h*m ^ (k^k>>24)*m
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(key[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
