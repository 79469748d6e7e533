package recordbatch

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// decompress returns the n bytes that an [Encoder] for c compressed to src.
func decompress(c Codec, src []byte, n int) ([]byte, error) {
	var r io.Reader
	switch c {
	case Gzip:
		z, err := gzip.NewReader(bytes.NewReader(src))
		if err != nil {
			return nil, err
		}
		r = z
	case LZ4:
		r = lz4.NewReader(bytes.NewReader(src))
	case Snappy:
		plain, err := xerial.DecodeInto(make([]byte, 0, n), src)
		return checked(plain, n, err)
	case Zstd:
		// Create a decoder for this batch only: keeping one costs more memory than creating one costs time.
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		plain, err := d.DecodeAll(src, make([]byte, 0, n))
		return checked(plain, n, err)
	default:
		return nil, fmt.Errorf("unknown codec %d", c)
	}
	plain := make([]byte, n)
	if _, err := io.ReadFull(r, plain); err != nil {
		return nil, err
	}
	if more, _ := io.CopyN(io.Discard, r, 1); more > 0 {
		return nil, fmt.Errorf("more than %d bytes", n)
	}
	return plain, nil
}

// checked returns plain if it has n bytes.
func checked(plain []byte, n int, err error) ([]byte, error) {
	if err == nil && len(plain) != n {
		err = fmt.Errorf("%d bytes, want %d", len(plain), n)
	}
	return plain, err
}
