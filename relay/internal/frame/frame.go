// Package frame builds the messages of a streaming server byte by byte, for tests.
package frame

import "encoding/binary"

// Message returns a message of Postgres's protocol: its type, its length, its body.
func Message(typ byte, body []byte) []byte {
	b := append([]byte{typ}, binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))...)
	return append(b, body...)
}

// WAL returns a message of pgoutput as the stream contains it. The positions and the time in its header are 0, because nothing may depend
// on them.
func WAL(data []byte) []byte {
	return Message('d', append(append([]byte{'w'}, make([]byte, 24)...), data...))
}

// Keepalive returns a keepalive with the position walEnd; reply 1 asks for a status at once.
func Keepalive(walEnd uint64, reply byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'k'}, walEnd)
	return Message('d', append(append(b, make([]byte, 8)...), reply))
}
