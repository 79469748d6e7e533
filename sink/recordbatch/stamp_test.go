package recordbatch_test

import (
	"bytes"
	"math"
	"testing"

	"walpost/sink/recordbatch"
	"walpost/sink/recordbatch/internal/generate"
)

var codecs = []recordbatch.Codec{recordbatch.None, recordbatch.Gzip, recordbatch.Snappy, recordbatch.LZ4, recordbatch.Zstd}

// A restamped batch has the same bytes as one that was sealed with that stamp, whatever stamps it had before.
func TestRestampIsSeal(t *testing.T) {
	stamps := []recordbatch.Stamp{{}, {ProducerID: 1}, {Epoch: 1}, {Sequence: 1}, {ProducerID: math.MaxInt64, Epoch: math.MaxInt16, Sequence: math.MaxInt32},
		{ProducerID: 12345678901, Epoch: 7, Sequence: 1 << 30}}
	records := generate.Records([]byte{1, 12, 13, 2, 3, 4, 5, 6, 7, 8, 9})
	for _, codec := range codecs {
		e := encoder(t, codec)
		b := generate.Batch(records)
		seal(t, b, e, recordbatch.Stamp{ProducerID: 99, Epoch: 99, Sequence: 99})
		for _, s := range stamps {
			b.Restamp(s)
			if anew := seal(t, generate.Batch(records), encoder(t, codec), s); !bytes.Equal(b.Wire(), anew) {
				t.Errorf("%v: restamped with %+v it differs from sealed with it", codec, s)
			}
			if codec == recordbatch.None {
				if h, _ := readPlain(t, b.Wire()); h.producerID != s.ProducerID || h.producerEpoch != s.Epoch || h.firstSequence != s.Sequence {
					t.Errorf("stamp %+v reads %+v", s, h)
				}
			}
		}
	}
}

// Resending means the same bytes: reading a sealed batch does not change it.
func TestWireIsStable(t *testing.T) {
	for _, codec := range codecs {
		b := generate.Batch(generate.Records([]byte{3, 9, 20, 1, 7, 7}))
		before := bytes.Clone(seal(t, b, encoder(t, codec), recordbatch.Stamp{ProducerID: 4, Sequence: 2}))
		b.Each(func(_ int, r recordbatch.Raw) { r.Record() })
		if !bytes.Equal(b.Wire(), before) {
			t.Errorf("%v: the wire changed", codec)
		}
	}
}

func TestParseCodec(t *testing.T) {
	for _, c := range codecs {
		if got, err := recordbatch.ParseCodec(c.String()); err != nil || got != c {
			t.Errorf("ParseCodec(%q) = %v, %v", c, got, err)
		}
	}
	for _, name := range []string{"", "ZSTD", "zstd ", "lz77", "uncompressed"} {
		if got, err := recordbatch.ParseCodec(name); err == nil {
			t.Errorf("ParseCodec(%q) = %v", name, got)
		}
	}
	if _, err := recordbatch.NewEncoder(9); err == nil || err.Error() != "make encoder: unknown codec 9" {
		t.Errorf("an encoder of codec 9: %v", err)
	}
}
