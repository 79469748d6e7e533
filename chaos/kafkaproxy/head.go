package kafkaproxy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
)

// flexibleProduce is the version from which produce requests have tags and
// compact strings.
const flexibleProduce = 9

var errShort = errors.New("the frame ends too early")

// look returns the first n bytes of a frame.
type look func(n int) ([]byte, error)

// cursor returns a look into a frame in memory.
func cursor(frame []byte) look {
	return func(n int) ([]byte, error) {
		if n > len(frame) {
			return nil, errShort
		}
		return frame[:n], nil
	}
}

// peek returns a look into a frame that is arriving. It consumes nothing.
func peek(r *bufio.Reader, size int) look {
	return func(n int) ([]byte, error) {
		if n > size {
			return nil, errShort
		}
		return r.Peek(n)
	}
}

// produceHead returns where the body of a produce request begins, and which
// acks it asks for.
//
//	request => length key version correlation client_id [tags]  transactional_id acks ...
//	head                                                        body
func produceHead(see look, version int16) (bodyAt int, acks int16, err error) {
	at, err := skipString(see, requestStart) // client_id is never compact
	if err != nil {
		return 0, 0, fmt.Errorf("client id: %w", err)
	}
	if version >= flexibleProduce {
		if at, err = skipTags(see, at); err != nil {
			return 0, 0, fmt.Errorf("tags of the head: %w", err)
		}
	}
	bodyAt = at
	switch {
	case version >= flexibleProduce:
		at, err = skipCompact(see, at)
	case version >= 3:
		at, err = skipString(see, at)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("transactional id: %w", err)
	}
	b, err := see(at + 2)
	if err != nil {
		return 0, 0, fmt.Errorf("acks: %w", err)
	}
	return bodyAt, int16(binary.BigEndian.Uint16(b[at:])), nil
}

// skipString skips a string with a length of 16 bits, -1 for null.
func skipString(see look, at int) (int, error) {
	b, err := see(at + 2)
	if err != nil {
		return 0, err
	}
	return at + 2 + max(0, int(int16(binary.BigEndian.Uint16(b[at:])))), nil
}

// skipCompact skips a string whose length plus one is a varint, 0 for null.
func skipCompact(see look, at int) (int, error) {
	n, at, err := varint(see, at)
	return at + max(0, n-1), err
}

// skipTags skips tagged fields.
func skipTags(see look, at int) (int, error) {
	count, at, err := varint(see, at)
	for ; count > 0 && err == nil; count-- {
		var size int
		if _, at, err = varint(see, at); err != nil {
			break
		}
		size, at, err = varint(see, at)
		at += size
	}
	return at, err
}

// varint reads an unsigned number with 7 bits in each byte.
func varint(see look, at int) (value, next int, err error) {
	for shift := 0; shift < 32; shift += 7 {
		b, err := see(at + 1)
		if err != nil {
			return 0, 0, err
		}
		value |= int(b[at]&0x7f) << shift
		at++
		if b[at-1] < 0x80 {
			return value, at, nil
		}
	}
	return 0, 0, errors.New("a varint does not end")
}
