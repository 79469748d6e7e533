// Package frame builds the messages of a server that streams, byte by byte, for tests.
package frame

import "encoding/binary"

// Message returns a message of Postgres's protocol: its type, its length, its body.
func Message(typ byte, body []byte) []byte {
	b := append([]byte{typ}, binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))...)
	return append(b, body...)
}

// WAL returns a message of pgoutput's as the stream brings it. Positions and time in its head are 0: nothing may depend on them.
func WAL(data []byte) []byte {
	return Message('d', append(append([]byte{'w'}, make([]byte, 24)...), data...))
}

// Keepalive returns a keepalive of a server that is at walEnd; reply 1 asks for a status at once.
func Keepalive(walEnd uint64, reply byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'k'}, walEnd)
	return Message('d', append(append(b, make([]byte, 8)...), reply))
}
