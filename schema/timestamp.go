package schema

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

const (
	microsPerDay = 24 * 60 * 60 * 1_000_000

	postgresEpoch = 10_957 * microsPerDay    // 2000-01-01, where Postgres counts from
	firstTime     = -719_162 * microsPerDay  // 0001-01-01
	endOfTimes    = 2_932_897 * microsPerDay // 10000-01-01, the first instant that RFC 3339 cannot write
)

// timestamp returns the microseconds since 1970-01-01 UTC of a timestamp, with time zone or without (then UTC), or NoTime.
func timestamp(f Format, v []byte) (int64, error) {
	if f == TextFormat {
		return parseTimestamp(v)
	}
	if len(v) != 8 {
		return 0, lengthError("timestamp", len(v), 8)
	}
	t := int64(binary.BigEndian.Uint64(v))
	if t < firstTime-postgresEpoch || t >= endOfTimes-postgresEpoch { // the infinities are the ends of int64
		return NoTime, nil
	}
	return t + postgresEpoch, nil
}

var errTimestamp = errors.New("not a timestamp in DateStyle ISO")

// parseTimestamp reads what Postgres writes under DateStyle ISO: 2026-11-20 12:34:56.789012+05:30:15 BC, where fraction, zone, the
// zone's minutes and seconds, and the era may be absent; infinity and -infinity.
func parseTimestamp(v []byte) (int64, error) {
	switch string(v) {
	case "infinity", "-infinity":
		return NoTime, nil
	}
	p := timeParser{rest: v}
	year := p.number(4, 6)
	month := p.after('-', 2)
	day := p.after('-', 2)
	hour := p.after(' ', 2)
	minute := p.after(':', 2)
	second := p.after(':', 2)
	micros := p.fraction()
	offset := p.zone()
	beforeChrist := p.era()
	if beforeChrist {
		year = 1 - year // as astronomers count, and package time
	}
	date := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC) // turns 30 February into March
	ok := len(p.rest) == 0 && !p.bad && hour < 24 && minute < 60 && second < 60
	if !ok || date.Year() != year || date.Month() != time.Month(month) || date.Day() != day || year == 0 && !beforeChrist {
		return 0, fmt.Errorf("%q is %w", clip(v), errTimestamp)
	}
	if year < 1 || year > 10_000 {
		return NoTime, nil
	}
	t := date.Unix()*1_000_000 + int64(hour*3600+minute*60+second-offset)*1_000_000 + int64(micros)
	if t < firstTime || t >= endOfTimes {
		return NoTime, nil
	}
	return t, nil
}

// timeParser takes a timestamp apart from its front. It goes on after a mistake, harmlessly, and remembers that there was one.
type timeParser struct {
	rest []byte
	bad  bool
}

// number takes between least and most digits.
func (p *timeParser) number(least, most int) int {
	n, value := 0, 0
	for n < len(p.rest) && n < most && '0' <= p.rest[n] && p.rest[n] <= '9' {
		value = value*10 + int(p.rest[n]-'0')
		n++
	}
	p.bad = p.bad || n < least
	p.rest = p.rest[n:]
	return value
}

// after takes the separator and then that many digits.
func (p *timeParser) after(separator byte, digits int) int {
	if !p.take(separator) {
		p.bad = true
		return 0
	}
	return p.number(digits, digits)
}

func (p *timeParser) take(c byte) bool {
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// fraction takes a second's fraction, in microseconds. Postgres leaves trailing zeros out.
func (p *timeParser) fraction() int {
	if !p.take('.') {
		return 0
	}
	before := len(p.rest)
	value := p.number(1, 6)
	for n := before - len(p.rest); n < 6; n++ {
		value *= 10
	}
	return value
}

// zone takes an offset from UTC, in seconds, east positive. Local mean times of the 19th century have seconds in theirs.
func (p *timeParser) zone() int {
	sign := 1
	switch {
	case p.take('+'):
	case p.take('-'):
		sign = -1
	default:
		return 0
	}
	offset := p.number(2, 2) * 3600
	if p.next(':') {
		offset += p.minutes() * 60
	}
	if p.next(':') {
		offset += p.minutes()
	}
	return sign * offset
}

func (p *timeParser) next(c byte) bool { return len(p.rest) > 0 && p.rest[0] == c }

func (p *timeParser) minutes() int {
	n := p.after(':', 2)
	p.bad = p.bad || n > 59
	return n
}

func (p *timeParser) era() bool {
	if string(p.rest) != " BC" {
		return false
	}
	p.rest = nil
	return true
}

// clip keeps a value that is shown in an error short.
func clip(v []byte) []byte { return v[:min(len(v), 40)] }
