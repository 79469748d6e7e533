package decoder

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// cursor reads a message from its beginning and never past its end.
//
// The first failure stays in err and empties rest, so that every later read fails too and returns a zero value. So a parser can read the
// whole message and check err once. It must not use a zero value that comes from a failure: it has to check err before it looks up, makes
// or returns anything.
type cursor struct {
	rest []byte
	err  error
}

func (c *cursor) uint8(field string) uint8 {
	if len(c.rest) < 1 {
		c.short(field, 1)
		return 0
	}
	v := c.rest[0]
	c.rest = c.rest[1:]
	return v
}

func (c *cursor) uint16(field string) uint16 {
	if len(c.rest) < 2 {
		c.short(field, 2)
		return 0
	}
	v := binary.BigEndian.Uint16(c.rest)
	c.rest = c.rest[2:]
	return v
}

func (c *cursor) uint32(field string) uint32 {
	if len(c.rest) < 4 {
		c.short(field, 4)
		return 0
	}
	v := binary.BigEndian.Uint32(c.rest)
	c.rest = c.rest[4:]
	return v
}

func (c *cursor) uint64(field string) uint64 {
	if len(c.rest) < 8 {
		c.short(field, 8)
		return 0
	}
	v := binary.BigEndian.Uint64(c.rest)
	c.rest = c.rest[8:]
	return v
}

// skip steps over n bytes.
func (c *cursor) skip(field string, n uint32) {
	if uint64(n) > uint64(len(c.rest)) {
		c.short(field, n)
		return
	}
	c.rest = c.rest[n:]
}

// text returns the bytes up to the next NUL, not copied, and steps over the NUL.
func (c *cursor) text(field string) []byte {
	n := bytes.IndexByte(c.rest, 0)
	if n < 0 {
		c.fail(fmt.Errorf("%s: no end within the %d bytes left", field, len(c.rest)))
		return nil
	}
	v := c.rest[:n:n]
	c.rest = c.rest[n+1:]
	return v
}

// end returns the error so far, or an error if there are bytes left: a message that is longer than its fields is not the message it seems
// to be.
func (c *cursor) end() error {
	if c.err == nil && len(c.rest) > 0 {
		c.fail(tooMany(len(c.rest)))
	}
	return c.err
}

func tooMany(n int) error { return fmt.Errorf("%d bytes too many", n) }

func (c *cursor) short(field string, want uint32) {
	c.fail(fmt.Errorf("%s: %d bytes wanted, %d left", field, want, len(c.rest)))
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.rest = nil
}
