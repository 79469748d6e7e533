package record

import (
	"math/rand/v2"
	"testing"

	"github.com/IBM/sarama"
)

// The hashes of the first seven keys are those of Apache Kafka's own UtilsTest; the others were computed with sarama and franz-go, which
// agree. Partitions are among twelve.
func TestKeysGoWhereJavaProducersPutThem(t *testing.T) {
	for _, v := range []struct {
		key                 string
		hash                int32
		murmur2, crc32, fnv int32
	}{
		{"21", -973932308, 0, 4, 0},
		{"foobar", -790332482, 6, 5, 0},
		{"a-little-bit-long-string", -985981536, 8, 6, 4},
		{"a-little-bit-longer-string", -1486304829, 11, 2, 9},
		{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971, 5, 1, 10},
		{"abc", 479470107, 3, 6, 11},
		{"", 275646681, 9, 0, 3},
		{"0", 971027396, 8, 5, 3},
		{"1", -1993445489, 3, 11, 4},
		{"42", 417700972, 4, 8, 5},
		{"order-1", 1221710326, 10, 7, 1},
		{"order-1001", 297523878, 6, 9, 0},
		{"customer:7", 1889505233, 5, 2, 10},
		{"agg-000123", -1469047252, 4, 5, 3},
		{"550e8400-e29b-41d4-a716-446655440000", 2143099391, 11, 1, 4},
		{"ключ", 2122343024, 8, 6, 11},
		{"\x00\x01\x02\x80\xff", -673026127, 1, 8, 5},
	} {
		key := []byte(v.key)
		if got := int32(murmur2(key)); got != v.hash {
			t.Errorf("murmur2(%q) = %d, want %d", v.key, got, v.hash)
		}
		for p, want := range map[Partitioner]int32{Murmur2: v.murmur2, CRC32: v.crc32, FNV1a: v.fnv} {
			if got := p.Partition(key, 12); got != want {
				t.Errorf("partitioner %d: %q in partition %d, want %d", p, v.key, got, want)
			}
		}
	}
}

// Random keys go where sarama's own partitioners put them.
func TestPartitionersAgreeWithSarama(t *testing.T) {
	theirs := map[Partitioner]sarama.Partitioner{Murmur2: sarama.NewMurmur2Partitioner("t"), CRC32: sarama.NewConsistentCRCHashPartitioner("t"),
		FNV1a: sarama.NewHashPartitioner("t")}
	r := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		key := make([]byte, r.IntN(40))
		for i := range key {
			key[i] = byte(r.Uint32())
		}
		count := 1 + r.Int32N(100)
		for p, other := range theirs {
			want, err := other.Partition(&sarama.ProducerMessage{Key: sarama.ByteEncoder(key)}, count)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Partition(key, count); got != want {
				t.Fatalf("partitioner %d: %x in %d of %d, sarama says %d", p, key, got, count, want)
			}
		}
	}
}

func TestParsePartitioner(t *testing.T) {
	for name, want := range map[string]Partitioner{"murmur2": Murmur2, "crc32": CRC32, "fnv1a": FNV1a} {
		if got, err := ParsePartitioner(name); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "Murmur2", "murmur3", "random"} {
		if got, err := ParsePartitioner(name); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}
