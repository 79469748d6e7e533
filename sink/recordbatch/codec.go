package recordbatch

import (
	"bytes"
	"compress/gzip"
	"fmt"

	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is a batch's compression, with the number that the batch's attributes hold.
type Codec uint8

// Kafka's codecs.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// ParseCodec returns a codec by Kafka's name for compression.type.
func ParseCodec(name string) (Codec, error) {
	for c, n := range codecNames {
		if n == name {
			return Codec(c), nil
		}
	}
	return None, fmt.Errorf("compression.type %q: unknown; one of none, gzip, snappy, lz4, zstd", name)
}

var codecNames = [...]string{None: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd"}

func (c Codec) String() string { return codecNames[c] }

// Encoder compresses batches. One encoder serves many batches. It belongs to one goroutine at a time.
type Encoder struct {
	codec Codec
	gzip  *gzip.Writer
	lz4   *lz4.Writer
	zstd  *zstd.Encoder

	frames []byte // snappy's scratch space
	out    []byte // compressed batches are written here first
}

// NewEncoder returns an encoder for c. zstd uses level 1: it produces half the bytes of lz4 at the same rate, and hardly more than its own
// default level. Windows and blocks are small because batches are small. That keeps an encoder at a few hundred kilobytes.
func NewEncoder(c Codec) (*Encoder, error) {
	e := &Encoder{codec: c}
	var err error
	switch c {
	case None, Snappy:
	case Gzip:
		e.gzip = gzip.NewWriter(nil)
	case LZ4:
		e.lz4 = lz4.NewWriter(nil)
		err = e.lz4.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false), lz4.ConcurrencyOption(1))
	case Zstd:
		e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(256<<10), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	default:
		return nil, fmt.Errorf("make encoder: unknown codec %d", c)
	}
	if err != nil {
		return nil, fmt.Errorf("make %v encoder: %w", c, err)
	}
	return e, nil
}

// seal returns a batch with compressed records, in a buffer that is no larger than necessary: an outage leaves ten thousand lanes with such
// a batch.
func (e *Encoder) seal(batch []byte) ([]byte, error) {
	out, err := e.compress(append(e.out[:0], batch[:HeadLen]...), batch[HeadLen:])
	if err != nil {
		return nil, err
	}
	if len(out) > 1<<largest { // rare, and too large to keep
		e.out = nil
		return out, nil
	}
	e.out = out
	return append(takeBuffer(len(out)), out...), nil
}

// compress appends the compressed src to dst.
func (e *Encoder) compress(dst, src []byte) ([]byte, error) {
	switch e.codec {
	case Snappy:
		// Use the framing of Java's clients, which all other clients can read. Encode reuses a non-empty destination for its own frames.
		e.frames = xerial.Encode(e.frames[:0], src)
		return append(dst, e.frames...), nil
	case Zstd:
		return e.zstd.EncodeAll(src, dst), nil
	}
	out := bytes.NewBuffer(dst)
	var err error
	if e.codec == Gzip {
		e.gzip.Reset(out)
		if _, err = e.gzip.Write(src); err == nil {
			err = e.gzip.Close()
		}
	} else {
		e.lz4.Reset(out)
		if _, err = e.lz4.Write(src); err == nil {
			err = e.lz4.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("compress a batch of %d bytes with %v: %w", len(src), e.codec, err)
	}
	return out.Bytes(), nil
}
