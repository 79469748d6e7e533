package sinktest

import (
	"encoding/binary"
	"io"
)

// Frame reads a request or an answer of Kafka's protocol, including its length.
func Frame(r io.Reader) ([]byte, error) {
	b := make([]byte, 4)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	b = append(b, make([]byte, binary.BigEndian.Uint32(b))...)
	_, err := io.ReadFull(r, b[4:])
	return b, err
}
