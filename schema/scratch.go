package schema

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
)

// scratch holds the converted values of one row. If the block is too small, a new one replaces it, and the old one is never moved. So
// values that are already in use stay valid in the old block.
type scratch struct {
	block []byte // its length is the part that the row has used
	spent int    // bytes that the row has used in replaced blocks
}

// maxKept is the size of the largest block that is kept for the next row. One row of a hundred megabytes must not occupy that memory for
// ever.
const maxKept = 1 << 20

func (s *scratch) reset() {
	if cap(s.block) > maxKept {
		s.block = nil
	}
	s.block, s.spent = s.block[:0], 0
}

// take returns an empty slice with room for n bytes, to which the caller appends a value.
func (s *scratch) take(n int) []byte {
	used := len(s.block)
	if s.block == nil || cap(s.block)-used < n { // never a nil slice: that would be NULL
		s.spent += used
		size := s.spent + n // so that the next row like this one fits into one block
		if size <= maxKept {
			size = max(256, 1<<bits.Len(uint(size-1)))
		} else {
			size = n
		}
		s.block, used = make([]byte, 0, size), 0
	}
	s.block = s.block[:used+n]
	return s.block[used : used : used+n]
}

// binary converts a value from binary format to the form that an event needs.
func (s *scratch) binary(k kind, v []byte) ([]byte, error) {
	switch k {
	case kindUUID:
		if len(v) != 16 {
			return nil, lengthError("uuid", len(v), 16)
		}
		return appendUUID(s.take(36), v), nil
	case kindInt2:
		if len(v) != 2 {
			return nil, lengthError("smallint", len(v), 2)
		}
		return strconv.AppendInt(s.take(6), int64(int16(binary.BigEndian.Uint16(v))), 10), nil
	case kindInt4:
		if len(v) != 4 {
			return nil, lengthError("integer", len(v), 4)
		}
		return strconv.AppendInt(s.take(11), int64(int32(binary.BigEndian.Uint32(v))), 10), nil
	case kindInt8:
		if len(v) != 8 {
			return nil, lengthError("bigint", len(v), 8)
		}
		return strconv.AppendInt(s.take(20), int64(binary.BigEndian.Uint64(v)), 10), nil
	case kindJSONB:
		if len(v) == 0 {
			return nil, errors.New("binary jsonb of 0 bytes, wanted a version byte first")
		}
		if v[0] != 1 {
			return nil, fmt.Errorf("binary jsonb of version %d, known is 1", v[0])
		}
		return v[1:], nil
	}
	return v, nil // text, json and bytea have the same bytes in both
}

func lengthError(typ string, found, wanted int) error {
	return fmt.Errorf("binary %s of %d bytes, wanted %d", typ, found, wanted)
}

// appendUUID appends the 36 characters of a 16 byte uuid. It does so digit by digit, because package hex takes twice as long for so few
// digits.
func appendUUID(b, u []byte) []byte {
	const digits = "0123456789abcdef"
	var text [36]byte
	at := 0
	for i, octet := range u[:16] {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text[at] = '-'
			at++
		}
		text[at], text[at+1] = digits[octet>>4], digits[octet&15]
		at += 2
	}
	return append(b, text[:]...)
}

// byteaText returns the raw bytes of a bytea in either of its text formats: hex (\x and two digits per byte), or the older escape format,
// which a server or role may still use.
func (s *scratch) byteaText(v []byte) ([]byte, error) {
	if len(v) < 2 || v[0] != '\\' || v[1] != 'x' {
		return s.byteaEscape(v)
	}
	digits := v[2:]
	if len(digits)%2 != 0 {
		return nil, fmt.Errorf("bytea of %d hexadecimal digits, an odd number", len(digits))
	}
	raw := s.take(len(digits) / 2)[:len(digits)/2]
	if n, err := hex.Decode(raw, digits); err != nil {
		return nil, fmt.Errorf("bytea with something other than hexadecimal digits from digit %d on", 2*n+1)
	}
	return raw, nil
}

// byteaEscape reads the escape format: printable ASCII is unchanged, a backslash is doubled, and any other byte is a backslash and three
// octal digits.
func (s *scratch) byteaEscape(v []byte) ([]byte, error) {
	raw := s.take(len(v))
	for i := 0; i < len(v); i++ {
		switch {
		case v[i] != '\\':
			raw = append(raw, v[i])
		case i+1 < len(v) && v[i+1] == '\\':
			raw = append(raw, '\\')
			i++
		case i+3 < len(v) && '0' <= v[i+1] && v[i+1] <= '3' && isOctal(v[i+2]) && isOctal(v[i+3]):
			raw = append(raw, (v[i+1]-'0')<<6|(v[i+2]-'0')<<3|(v[i+3]-'0'))
			i += 3
		default:
			return nil, fmt.Errorf("bytea in escape format with a backslash at byte %d that starts neither \\\\ nor three octal digits", i+1)
		}
	}
	return raw, nil
}

func isOctal(c byte) bool { return '0' <= c && c <= '7' }
