package recordbatch

import (
	"bytes"
	"compress/gzip"
	"fmt"

	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is a batch's compression, numbered as in its attributes.
type Codec uint8

// Kafka's codecs.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// ParseCodec takes a codec by Kafka's name for compression.type.
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

// Encoder compresses batches. It is made once and used for many; it belongs to one goroutine at a time.
type Encoder struct {
	codec Codec
	gzip  *gzip.Writer
	lz4   *lz4.Writer
	zstd  *zstd.Encoder

	frames []byte // snappy's scratch space
	out    []byte // where batches are compressed
}

// NewEncoder returns an encoder for c. zstd works at level 1: half the bytes of lz4 at the same rate, and hardly more than its own
// default level. Windows and blocks are small, because batches are: that keeps an encoder at a few hundred kilobytes.
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

// seal returns a batch with its records compressed, in a buffer that is no larger than need be: an outage leaves ten thousand lanes with such
// a batch, whose records are kept as well.
func (e *Encoder) seal(batch []byte) ([]byte, error) {
	out, err := e.compress(append(e.out[:0], batch[:HeadLen]...), batch[HeadLen:])
	if err != nil {
		return nil, err
	}
	if len(out) > 1<<largest { // rare, and too much to be kept
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
		// In the framing of Java's clients, which all others read. Encode takes a non-empty destination for frames of its own.
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
